#pragma once

// The operations that a device offers to the model code: few and coarse, so that a backend may fuse
// inside each. All views and pointers lie in the device's memory. src/backend/ref is the
// specification; every other backend is tested against it.

#include <cstdint>
#include <span>
#include <vector>

#include "numeric/activation.h"
#include "numeric/quantization.h"
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

/// y = act(W x + b), prepared by and for one backend: how the bytes are laid out is its own affair.
/// Not owned; the bytes are immutable and lie in a model's one buffer of weights.
struct PackedLinear {
  int64_t in_features = 0;
  int64_t out_features = 0;
  DType dtype = DType::kF32;        ///< storage of W: f32, f16, bf16 or i8
  const std::byte* data = nullptr;  ///< aligned to 64 bytes
  size_t bytes = 0;

  explicit operator bool() const { return data != nullptr; }
};

/// What belongs to a weight that is stored as i8: w[o][i] = scale[o] * q[o][i] / smoothing[i], and
/// in outlier column number j, where q is 0, outliers[o][j].
struct StoredInt8 {
  const float* scale = nullptr;     ///< [out]
  const float* outliers = nullptr;  ///< [out, outlier columns]
};

/// A weight [out, in] and bias [out] as stored in the checkpoint; several are stacked on out.
struct LinearSource {
  std::vector<const TensorView*> weights;
  std::vector<const TensorView*> biases;  ///< one for each weight; null = zeros
  /// For packing as int8. Weights that are stored as i8 were made with the same.
  const InputQuantization* quantization = nullptr;
  std::vector<StoredInt8> int8 = {};  ///< one for each weight of dtype i8, else empty
};

struct LayerNormWeights {
  const float* gamma = nullptr;  ///< [n]
  const float* beta = nullptr;   ///< [n]
  float eps = 0;
};

/// The word table keeps a storage type of its own; the small position and type tables are f32.
struct EmbeddingWeights {
  const std::byte* words = nullptr;  ///< [vocab, hidden], may be unaligned
  DType word_dtype = DType::kF32;
  int64_t vocab = 0;
  int64_t hidden = 0;
  const float* positions = nullptr;  ///< [max_positions, hidden]
  int64_t max_positions = 0;
  const float* types = nullptr;  ///< [type_vocab, hidden]
  int64_t type_vocab = 0;
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
  /// Of the layer's weights. q, k, v and the probabilities may be rounded to the same 16-bit type,
  /// with int8 to bf16, where the device gains by it; sums stay f32.
  DType dtype = DType::kF32;
  /// The same as cu_queries and cu_keys in memory of the host, until the call returns: a backend
  /// that queues its work sizes it by them.
  const int32_t* host_queries = nullptr;
  const int32_t* host_keys = nullptr;
};

/// Thread rule: calls on one Ops come from one thread at a time. Shapes are the caller's promise,
/// checked in tests, not at run time.
class Ops {
 public:
  virtual ~Ops() = default;

  /// Packs in host memory, whatever the device: out has Device::linear_bytes bytes, 64-byte
  /// aligned, and goes to the device as it is.
  /// Errors: data_loss (a weight is NaN or infinite, or too large for dtype: tensor, index, value).
  virtual void pack_linear(const LinearSource& source, DType dtype, std::byte* out) = 0;
  /// Memory of the device that the calls below may use until the next set_scratch:
  /// Device::scratch_bytes for the largest shape to come, 64-byte aligned. Ops allocate nothing.
  virtual void set_scratch(std::span<std::byte> scratch) = 0;

  /// out[t] = LayerNorm(words[ids[t]] + positions[positions[t]] + types[type_ids[t]])
  virtual void embed_layer_norm(const EmbeddingWeights& weights, const BatchView& batch,
                                Mat out) = 0;
  /// y[rows, out] = act(x[rows, in] W^T + b); y must not overlap x.
  virtual void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) = 0;
  /// y = LayerNorm(x + residual), or of x alone if residual.data is null; y may be x or residual.
  virtual void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& weights,
                              Mat y) = 0;
  /// out[query] = softmax(q k^T / sqrt(head_dim)) v within each sequence and head.
  virtual void attention(const AttentionView& a, Mat out) = 0;
  /// y[i] = x[rows[i]] for y.rows rows; y may be the head of x if rows ascend (rows[i] >= i).
  virtual void gather_rows(ConstMat x, const int32_t* rows, Mat y) = 0;
  /// y[i] = mean of the rows of sequence i; sequences are never empty.
  virtual void mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) = 0;
  /// y[0] = the largest of each column of x, and of what y[0] was if `more`; NaN if one is
  /// NaN.
  virtual void max_rows(ConstMat x, bool more, Mat y) = 0;
  /// y[i] /= max(||y[i]||, 1e-12) [torch.nn.functional.normalize]
  virtual void l2_normalize(Mat y) = 0;
};

}  // namespace tamis
