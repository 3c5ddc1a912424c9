#pragma once

// The operations that a device offers to the model code: few and coarse, so that a backend may fuse
// inside each. All views and pointers lie in the device's memory. src/backend/ref is the
// specification; every other backend is tested against it.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "numeric/activation.h"
#include "numeric/tensor_view.h"

namespace tamis {

/// A batch as the ops see it (PackedBatch on the device).
struct BatchView {
  const int32_t* ids = nullptr;         ///< [tokens]
  const int32_t* positions = nullptr;   ///< [tokens]
  const int32_t* type_ids = nullptr;    ///< [tokens]
  const int32_t* cu_seqlens = nullptr;  ///< [sequences + 1]
  int64_t tokens = 0;
  int64_t sequences = 0;
};

/// y = act(W x + b), prepared by and for one backend. Immutable.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }
  size_t bytes() const { return bytes_; }

 protected:
  PackedLinear(int64_t in, int64_t out, size_t bytes)
      : in_features_(in), out_features_(out), bytes_(bytes) {}

 private:
  int64_t in_features_;
  int64_t out_features_;
  size_t bytes_;
};

/// A weight [out, in] and bias [out] as stored in the checkpoint; several are stacked on out.
struct LinearSource {
  std::vector<const TensorView*> weights;
  std::vector<const TensorView*> biases;  ///< one for each weight; null = zeros
};

struct LayerNormWeights {
  std::vector<float> gamma;  ///< [n]
  std::vector<float> beta;   ///< [n]
  float eps = 0;
};

/// Word rows are read where they lie (the mapped file, in its storage type); the small position and
/// type tables are f32.
struct EmbeddingWeights {
  const std::byte* words = nullptr;  ///< [vocab, hidden], may be unaligned
  DType word_dtype = DType::kF32;
  int64_t vocab = 0;
  int64_t hidden = 0;
  std::vector<float> positions;  ///< [max_positions, hidden]
  std::vector<float> types;      ///< [type_vocab, hidden]
  LayerNormWeights norm;
};

/// Operands of attention: every sequence's queries attend to all of its keys, nothing else.
struct AttentionView {
  ConstMat q;  ///< [queries, heads * head_dim]
  ConstMat k;  ///< [tokens, heads * head_dim]
  ConstMat v;
  const int32_t* cu_queries = nullptr;  ///< [sequences + 1]
  const int32_t* cu_keys = nullptr;
  int64_t sequences = 0;
  int64_t heads = 0;
};

/// Thread rule: calls on one Ops come from one thread at a time (its replica); prepare functions
/// may run at any time. Shapes are the caller's promise, checked in tests, not at run time.
class Ops {
 public:
  virtual ~Ops() = default;

  /// Errors: data_loss (a weight is NaN or infinite: tensor, index, value).
  virtual std::unique_ptr<PackedLinear> pack_linear(const LinearSource& source) = 0;
  /// What bytes() of a packed layer of this shape will be.
  virtual size_t linear_bytes(int64_t in_features, int64_t out_features) const = 0;

  /// out[t] = LayerNorm(words[ids[t]] + positions[positions[t]] + types[type_ids[t]])
  virtual void embed_layer_norm(const EmbeddingWeights& weights, const BatchView& batch,
                                Mat out) = 0;
  /// y[rows, out] = act(x[rows, in] W^T + b); y must not overlap x.
  virtual void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) = 0;
  /// y = LayerNorm(x + residual); y may be x or residual.
  virtual void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& weights,
                              Mat y) = 0;
  /// out[query] = softmax(q k^T / sqrt(head_dim)) v within each sequence and head.
  virtual void attention(const AttentionView& a, Mat out) = 0;
  /// y[i] = x[rows[i]]; y may be the head of x if rows ascend (so that rows[i] >= i).
  virtual void gather_rows(ConstMat x, std::span<const int32_t> rows, Mat y) = 0;
  /// y[i] = mean of the rows of sequence i; sequences are never empty.
  virtual void mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) = 0;
  /// y[i] /= max(||y[i]||, 1e-12) [torch.nn.functional.normalize]
  virtual void l2_normalize(Mat y) = 0;
};

}  // namespace tamis
