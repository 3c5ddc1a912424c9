#include "tamis/train.h"

#include "base/fail.h"
#include "device/device_name.h"
#include "tamis/session.h"
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
  if (options.resume || options.overwrite_output_dir) return;
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
  if (names.size() != 1) {
    fail(ErrorCode::kUnimplemented, "device: training runs on one, got \"{}\"", options.device);
  }
  parts.device = devices->open(names.front(), options.isa);
  parts.host = &devices->host();
  return training::Trainer(parts, options).run(events, stop);
}

}  // namespace tamis
