#pragma once

// Looks at what the linear layers of a model read on sample text, and decides how that is brought
// into 8 bits.

#include <chrono>
#include <memory>

#include "batch/packed_batch.h"
#include "device/device.h"
#include "model/weights.h"

namespace tamis {

/// Runs the model over the batch in f32, one layer at a time: the memory is that of one layer and
/// of the batch's activations. For a device with host_memory.
/// Outlier columns are those whose largest value is beyond 3 times the median column's; the others
/// are smoothed with a strength of 0.5 [Xiao et al., 2022, SmoothQuant, section 4].
/// docs/decisions/0008-int8.md has what these are worth on real weights.
/// Errors: those of place_layer and forward_layers; data_loss (a layer gives NaN or Inf: named).
ModelQuantization calibrate(const std::shared_ptr<const HostModel>& model,
                            const std::shared_ptr<Device>& device, const StreamOptions& options,
                            const std::shared_ptr<MemoryAccount>& account, const PackedBatch& batch,
                            std::chrono::milliseconds timeout);

/// Sequences of ids drawn at random between the model's own first and last id: 256 tokens, for a
/// calibration without texts. Which inputs are outliers hardly depends on what is read.
PackedBatch random_sample(const HostModel& model);

}  // namespace tamis
