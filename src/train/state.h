#pragma once

// What a run writes: the model as a Hugging Face directory, and checkpoints, which are such a
// directory with the optimiser's state in it.

#include <filesystem>
#include <optional>
#include <string>

#include "model/weights.h"
#include "tamis/log.h"
#include "train/parameters.h"

namespace tamis::training {

/// Where a run stands, beside its parameters. The order of the data and all that is drawn follow
/// from the seed and the step.
struct RunState {
  int64_t step = 0;          ///< steps that are done
  int64_t updates = 0;       ///< of them those that changed the parameters: AdamW's step
  double loss_scale = 1;     ///< of f16: gradients are so many times as large
  int64_t scaled_steps = 0;  ///< without an overflow since it changed
  /// What must be the same for the run to go on: data, seed, sizes of batches, schedule.
  std::string fingerprint;
};

/// The directory's small files, config.json for f32 and the task's architecture, adapters also as
/// peft has them below lora/, model.safetensors last and whole. `out` exists. Errors: unavailable,
/// resource_exhausted (disk full).
void write_model(const HostModel& source, const ModelSpec& spec, const Parameters& parameters,
                 Stream& stream, const std::filesystem::path& out);

/// output_dir/checkpoint-N, whole or not at all; older ones beyond `keep` are removed then. Returns
/// its path. Errors: as write_model.
std::filesystem::path write_checkpoint(const HostModel& source, const ModelSpec& spec,
                                       const Parameters& parameters, Stream& stream,
                                       const RunState& state,
                                       const std::filesystem::path& output_dir, size_t keep);

/// Before a run begins anew in a directory that another one had. Errors: unavailable.
void discard_checkpoints(const std::filesystem::path& output_dir);

/// Bytes that a run will write.
struct DiskNeed {
  size_t model = 0;
  size_t checkpoint = 0;   ///< of each
  size_t checkpoints = 0;  ///< that are there at the same time, at most
};

/// Refuses a run whose model and one checkpoint have no room in `directory`, and warns of one whose
/// later checkpoints have none. Errors: resource_exhausted.
void check_disk(const DiskNeed& need, size_t free_bytes, const std::filesystem::path& directory,
                const LogSink& log);

/// The newest checkpoint of a run's directory.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& output_dir);

/// Parameters and moments as they were. Errors: data_loss (damaged or of another model),
/// invalid_argument (the fingerprint differs: says both).
RunState read_checkpoint(const std::filesystem::path& checkpoint, const std::string& fingerprint,
                         const HostModel& source, const ModelSpec& spec, Parameters& parameters,
                         Stream& stream);

}  // namespace tamis::training
