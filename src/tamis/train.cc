#include "tamis/train.h"

#include <mutex>

#include "base/fail.h"
#include "device/device_name.h"
#include "tamis/session.h"
#include "train/run_files.h"
#include "train/trainer.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

/// A run goes into a directory that is new or empty, into one of its own that it continues, or into
/// one that may be written over.
void check_output(const TrainOptions& options) {
  if (options.output_dir.empty()) {
    fail(ErrorCode::kInvalidArgument, "output_dir: expected a directory, got none");
  }
  std::error_code ignored;
  // Rank 0 may have begun to write there.
  if (options.resume || options.overwrite_output_dir || options.ranks.rank > 0) return;
  if (fs::exists(options.output_dir, ignored) && !fs::is_empty(options.output_dir, ignored)) {
    fail(ErrorCode::kInvalidArgument,
         "{}: is not empty; give another output_dir, go on from its newest checkpoint "
         "(resume_from_checkpoint), or write over it (overwrite_output_dir)",
         options.output_dir.string());
  }
}

}  // namespace

TrainReport train(const TrainOptions& options, const TrainEvents& events, std::stop_token stop) {
  check_output(options);
  training::check_reports(options);
  LoadOptions load;
  load.log = options.log;
  load.devices = options.devices;
  load.pooling = parse_pooling(options.sentence_pooling_method);
  const ModelSpec source = read_spec(options.model_name_or_path, load);
  training::TrainerParts parts;
  parts.source = HostModel::open(source, options.log);
  parts.spec = training::training_spec(parts.source->spec, options);
  parts.tokenizer = text::Tokenizer::load(options.model_name_or_path, options.log);
  const auto devices = device_set(load);
  const std::vector<DeviceName> names = parse_device_names(options.device);
  std::vector<std::shared_ptr<Device>> opened;
  for (const DeviceName& name : names) opened.push_back(devices->open(name, options.isa));
  parts.host = &devices->host();
  const auto run = [&](std::shared_ptr<training::Collective> collective, size_t device,
                       const TrainOptions& how) {
    training::TrainerParts own = parts;
    own.device = opened[device];
    own.collective = std::move(collective);
    own.devices_here = opened.size();
    return training::Trainer(own, how).run(events, stop);
  };
  if (names.size() == 1) {
    return run(training::connect_ranks(options.ranks), 0, options);
  }
  if (options.ranks.size > 1) {
    fail(ErrorCode::kInvalidArgument, "device: a process of several has one device, got \"{}\"",
         options.device);
  }
  const int count = static_cast<int>(names.size());
  TrainOptions shared = options;
  if (options.log) {
    shared.log = [&options, mutex = std::make_shared<std::mutex>()](LogLevel level,
                                                                    std::string_view text) {
      const std::lock_guard lock(*mutex);
      options.log(level, text);
    };
  }
  const int cores = options.threads > 0 ? options.threads : parts.host->usable_cores();
  shared.threads = std::max(1, cores / count);
  TrainReport report;
  training::run_on_threads(count, [&](const std::shared_ptr<training::Collective>& collective) {
    const auto rank = static_cast<size_t>(collective->rank());
    TrainReport own = run(collective, rank, shared);
    if (rank == 0) report = std::move(own);
  });
  return report;
}

}  // namespace tamis
