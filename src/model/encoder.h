#pragma once

// The forward pass: free functions of (weights, batch, workspace) over a device's ops.

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "batch/packed_batch.h"
#include "device/device.h"
#include "model/weights.h"

namespace tamis {

/// Activations of one batch. Grows to the largest batch it has seen and belongs to one replica.
class Workspace {
 public:
  /// A pure function of the model's sizes: floats for x, one temporary and the widest of
  /// {q, k, v, context} and the feed-forward layer, which are never alive together.
  static size_t bytes_for(const ModelSpec& spec, size_t tokens);
  /// Errors: resource_exhausted.
  void reserve(const ModelSpec& spec, size_t tokens);

  Mat hidden(int64_t rows) const { return {buffer_.data(), rows, hidden_}; }
  Mat temporary(int64_t rows) const { return {buffer_.data() + tokens_ * hidden_, rows, hidden_}; }
  Mat query(int64_t rows) const { return {wide(), rows, hidden_}; }
  Mat key_value(int64_t rows) const { return {wide() + tokens_ * hidden_, rows, 2 * hidden_}; }
  Mat context(int64_t rows) const { return {wide() + 3 * tokens_ * hidden_, rows, hidden_}; }
  Mat feed_forward(int64_t rows) const { return {wide(), rows, intermediate_}; }

 private:
  float* wide() const { return buffer_.data() + 2 * tokens_ * hidden_; }
  FloatBuffer buffer_;
  int64_t tokens_ = 0;
  int64_t hidden_ = 0;
  int64_t intermediate_ = 0;
};

/// Called with the name of each stage ("embeddings", "layer 3", "the head") and its output.
using Probe = std::function<void(std::string_view stage, ConstMat output)>;

/// Numbers that a model gives for a sequence: its labels, or its hidden size.
int64_t output_size(const ModelWeights& weights);

/// Runs the model: out[i] is [output_size], the logits or the (pooled, perhaps normalised) vector
/// of sequence i of the batch. Every id must be below the word table's rows, every position below
/// the position table's.
void forward(const ModelWeights& weights, const PackedBatch& batch, Ops& ops, Workspace& workspace,
             Mat out, const Probe& probe = {});

}  // namespace tamis
