#pragma once

// What of the forward pass is kept for the backward pass, and what is computed again: gradient
// checkpointing. One buffer, planned by a pure function of the sizes.

#include <memory>
#include <vector>

#include "device/device.h"
#include "model/spec.h"

namespace tamis::training {

enum class Recompute {
  kNothing,    ///< everything is kept
  kAttention,  ///< queries, keys, values and contexts are computed again
  kLayers,     ///< of every `every` layers only the input is kept
};

struct CheckpointPolicy {
  Recompute recompute = Recompute::kNothing;
  int64_t every = 1;  ///< with kLayers
};

/// "none" ("False"), "attention", "1" ("True"), "2", ... Errors: invalid_argument.
CheckpointPolicy parse_policy(std::string_view text);
std::string to_string(const CheckpointPolicy& policy);

/// What one layer leaves behind; all [tokens, .].
struct LayerRecord {
  Mat query_key_value;               ///< [tokens, 3 hidden]
  Mat context;                       ///< what attention made
  Mat attention_sum;                 ///< before the first LayerNorm
  Mat up;                            ///< before the activation
  Mat output_sum;                    ///< before the second LayerNorm
  float* attention_stats = nullptr;  ///< [tokens, 2]
  float* output_stats = nullptr;
};

/// Shapes that the memory of a sub-batch follows from.
struct ActivationShape {
  int64_t tokens = 0;
  int64_t sequences = 0;
  int64_t outputs = 1;        ///< numbers of a sequence
  int64_t token_outputs = 0;  ///< numbers of a token: BGE-M3's heads
  int64_t lowest = 0;         ///< layer that learns: what those below it leave behind is not kept
  int64_t rank = 0;           ///< of adapters
  bool adapter_dropout = false;
};

class Activations {
 public:
  /// Bytes of the buffer: records, temporaries, indices and `scratch` bytes of the ops.
  static size_t bytes_for(const ModelSpec& spec, const CheckpointPolicy& policy,
                          const ActivationShape& shape, size_t scratch);
  /// Keeps the buffer if it is large enough. Errors: resource_exhausted; then what was there is
  /// gone.
  void reserve(const ModelSpec& spec, const CheckpointPolicy& policy, const ActivationShape& shape,
               size_t scratch, Device& device, const std::shared_ptr<MemoryAccount>& account);
  void release() { buffer_ = {}; }

  LayerRecord record(int64_t layer) const;
  /// With kLayers; whether it is kept is keeps_segment.
  Mat segment_input(int64_t segment) const;
  bool keeps_segment(int64_t segment) const { return segment >= lowest_ / policy_.every; }
  Mat embedding_sum() const { return matrix(embedding_, hidden_); }
  float* embedding_stats() const { return at(stats_); }
  Mat hidden() const { return matrix(x_, hidden_); }           ///< what flows through the layers
  Mat gradient() const { return matrix(gradient_, hidden_); }  ///< what flows back
  Mat temporary() const { return matrix(temporary_, hidden_); }
  Mat again() const { return matrix(again_, hidden_); }  ///< inputs that are computed again
  /// Two of [tokens, intermediate]; or [tokens, hidden] and [tokens, 3 hidden].
  Mat wide(int64_t cols) const { return matrix(wide_, cols); }
  Mat wide_behind(int64_t before, int64_t cols) const {
    return matrix(wide_ + tokens_ * before, cols);
  }
  /// [sequences, .], four of the wider of hidden and outputs.
  Mat head(int which, int64_t cols) const;
  Mat token_head(int64_t cols) const { return matrix(token_head_, cols); }
  /// [tokens, rank]: what lies between an adapter's two products, and its gradient.
  Mat low_rank(int which) const { return matrix(low_rank_ + which * aligned_rank_, rank_); }
  /// An adapter's input after dropout; only with adapter_dropout.
  Mat adapter_input(int64_t cols) const { return matrix(adapter_input_, cols); }
  int32_t* indices() const;
  std::span<std::byte> scratch() const;

 private:
  struct Layout;
  void plan(const ModelSpec& spec, const CheckpointPolicy& policy, const ActivationShape& shape,
            size_t scratch);
  float* at(int64_t offset) const { return reinterpret_cast<float*>(buffer_.data()) + offset; }
  Mat matrix(int64_t offset, int64_t cols) const { return {at(offset), tokens_, cols}; }

  Buffer buffer_;
  CheckpointPolicy policy_;
  int64_t tokens_ = 0, sequences_ = 0, hidden_ = 0, intermediate_ = 0, widest_ = 0, layers_ = 0,
          lowest_ = 0, rank_ = 0;
  // Offsets in floats.
  int64_t records_ = 0, record_size_ = 0, shared_ = 0, segments_ = 0, embedding_ = 0, stats_ = 0,
          x_ = 0, gradient_ = 0, temporary_ = 0, again_ = 0, wide_ = 0, head_ = 0, token_head_ = 0,
          low_rank_ = 0, aligned_rank_ = 0, adapter_input_ = 0, indices_ = 0, scratch_ = 0,
          floats_ = 0;
  size_t scratch_bytes_ = 0;
};

/// Indices that a sub-batch has on the device: ids, positions, types and noise rows of the tokens,
/// cu_seqlens, one row and its noise for each sequence.
constexpr int64_t index_count(int64_t tokens, int64_t sequences) {
  return 4 * tokens + 3 * sequences + 1;
}

}  // namespace tamis::training
