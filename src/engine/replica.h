#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "batch/packed_batch.h"
#include "device/device.h"
#include "model/encoder.h"
#include "model/weights.h"
#include "tamis/types.h"

namespace tamis {

/// One model on one device: its weights there and a workspace.
/// Thread rule: run may be called from many threads; batches take turns.
class Replica {
 public:
  Replica(std::unique_ptr<Device> device, const ModelSpec& spec, const LogSink& log);

  /// Runs the sequences through the model in batches of at most batch_tokens (0 = what suits the
  /// device); row i of the result, [sequences, output_size], belongs to sequence i.
  /// Errors: data_loss (NaN or Inf came out: names the stage and the token), resource_exhausted.
  std::vector<float> run(std::span<const SequenceView> sequences, size_t batch_tokens,
                         const Progress& progress) const;

  const ModelWeights& weights() const { return *weights_; }
  const ModelSpec& spec() const { return weights_->spec; }
  const Device& device() const { return *device_; }
  size_t batch_tokens(size_t asked) const {
    return asked > 0 ? asked : device_->preferred_batch_tokens();
  }
  MemoryPlan memory_plan() const { return plan_; }

 private:
  std::unique_ptr<Device> device_;
  std::shared_ptr<const ModelWeights> weights_;
  MemoryPlan plan_;
  mutable std::mutex turn_;
  mutable Workspace workspace_;  // guarded by turn_
};

}  // namespace tamis
