#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "batch/packed_batch.h"
#include "model/encoder.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "tamis/device.h"

namespace tamis {

/// One model on one device: its weights there, a stream, and memory for one batch.
/// Thread rule: run and trim from one thread at a time; the others from any.
class Replica {
 public:
  Replica(std::shared_ptr<const ModelWeights> weights, std::shared_ptr<Device> device,
          Workspace workspace, const StreamOptions& options, size_t batch_tokens);

  /// out, laid out as OutputLayout says, is complete when the call returns.
  /// Errors: data_loss (NaN or Inf came out: names the stage and the token), resource_exhausted (a
  /// smaller batch may pass), unavailable (the device has failed), and those of forward.
  void run(const PackedBatch& batch, const Outputs& outputs, std::span<float> out);
  /// Allocates the memory of a batch before it is needed. Errors: resource_exhausted.
  void reserve(size_t tokens);
  /// Gives the memory of batches back; returns the bytes.
  size_t trim();

  const ModelWeights& weights() const { return *weights_; }
  const std::shared_ptr<const ModelWeights>& shared_weights() const { return weights_; }
  const Device& device() const { return *device_; }
  const std::shared_ptr<Device>& shared_device() const { return device_; }
  const std::vector<int>& cores() const { return options_.cores; }
  size_t batch_tokens() const { return batch_tokens_; }
  /// Where everything is, as the device says.
  Placement placement() const;

 private:
  std::shared_ptr<const ModelWeights> weights_;
  std::shared_ptr<Device> device_;
  StreamOptions options_;
  size_t batch_tokens_;
  Workspace workspace_;
  std::atomic<size_t> workspace_bytes_{0};
  std::atomic<bool> workspace_on_device_{true};
};

}  // namespace tamis
