#pragma once

// What training needs of a device beside Ops: plain weights that change with every step, forward
// ops that leave behind what their backward ops read, and the optimiser. Coarse, like Ops, and as
// there all views and pointers lie in the device's memory. A gradient `d_x` is dLoss/dx. Whatever
// the number of threads, an op adds in one order: a step gives the same bits.

#include <cstdint>
#include <span>

#include "device/ops.h"

namespace tamis {

/// One matrix of a product; transposed: the product sees its transpose.
struct Factor {
  ConstMat mat;
  bool transposed = false;
  int64_t rows() const { return transposed ? mat.cols : mat.rows; }
  int64_t cols() const { return transposed ? mat.rows : mat.cols; }
};

/// Which elements are dropped: a pure function of (seed, site, row, column), so that a layer that
/// runs twice drops the same ones, in whatever batch its rows are.
struct Dropout {
  float rate = 0;     ///< [0, 1), rounded to a multiple of 2^-16; 0: nothing is dropped
  uint64_t seed = 0;  ///< of the run and the step
  uint32_t site = 0;  ///< layer and place in it
  explicit operator bool() const { return rate > 0; }
};

/// Self-attention of packed sequences, with dropout of the probabilities.
struct TrainAttention {
  ConstMat q;  ///< [tokens, heads * head_dim]
  ConstMat k;
  ConstMat v;
  const int32_t* cu_seqlens = nullptr;       ///< [sequences + 1]
  const int32_t* host_cu_seqlens = nullptr;  ///< the same in memory of the host
  int64_t sequences = 0;
  int64_t heads = 0;
  Dropout dropout;
  const uint32_t* noise_rows = nullptr;  ///< [tokens]: what Dropout calls the row of a token
};

/// Rows of a matrix [., width] that lie end to end: those with these numbers, or the first `count`.
struct Rows {
  const int32_t* ids = nullptr;
  int64_t count = 0;
  int64_t width = 0;
};

/// AdamW as torch has it [torch.optim.AdamW]: decoupled weight decay, corrected moments.
struct AdamW {
  float learning_rate = 0;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0;
  int64_t step = 1;          ///< from 1
  float gradient_scale = 1;  ///< the gradient is multiplied by it first: clipping
};

/// The largest shapes that scratch is needed for.
struct TrainShape {
  int64_t tokens = 0;    ///< of a batch
  int64_t longest = 0;   ///< sequence
  int64_t features = 0;  ///< widest side of a weight
  int64_t head_dim = 0;
};

/// Thread rule: calls on one TrainOps come from one thread at a time.
class TrainOps {
 public:
  virtual ~TrainOps() = default;

  virtual size_t scratch_bytes(const TrainShape& shape) const = 0;
  /// 64-byte aligned, scratch_bytes of what is to come.
  virtual void set_scratch(std::span<std::byte> scratch) = 0;

  /// y = a b + bias, or y += a b if `accumulate`. bias [y.cols] may be null, and is with
  /// accumulate.
  virtual void product(const Factor& a, const Factor& b, const float* bias, bool accumulate,
                       Mat y) = 0;
  /// sums[c] += sum over the rows of x
  virtual void add_columns(ConstMat x, float* sums) = 0;

  /// out[t] = words[ids[t]] + positions[positions[t]] + types[type_ids[t]]; weights.norm is not
  /// used.
  virtual void embed(const EmbeddingWeights& weights, const BatchView& batch, Mat out) = 0;
  /// Adds the rows of d_out to the rows of the tables that they came from, in the order of the
  /// tokens; a null table is left out.
  virtual void embed_backward(ConstMat d_out, const BatchView& batch, float* d_words,
                              float* d_positions, float* d_types) = 0;

  /// y = LayerNorm(x); stats [rows, 2] = mean and 1/sqrt(var + eps). y may be x only if no
  /// backward follows.
  virtual void layer_norm(ConstMat x, const LayerNormWeights& weights, Mat y, float* stats) = 0;
  /// d_x from d_y; d_gamma and d_beta [n] are added to, if not null. d_x may be d_y.
  virtual void layer_norm_backward(ConstMat d_y, ConstMat x, const float* stats, const float* gamma,
                                   Mat d_x, float* d_gamma, float* d_beta) = 0;

  /// y = f(x); y may be x.
  virtual void activate(Activation f, ConstMat x, Mat y) = 0;
  /// d_x = f'(x) d_y; d_x may be d_y.
  virtual void activate_backward(Activation f, ConstMat x, ConstMat d_y, Mat d_x) = 0;

  /// y = dropout(x) + residual (null: none). noise_rows [x.rows] names the rows. y may be x or
  /// residual. Of a gradient it is its own backward.
  virtual void dropout(ConstMat x, ConstMat residual, const Dropout& dropout,
                       const uint32_t* noise_rows, Mat y) = 0;
  /// x *= factor
  virtual void scale(Mat x, float factor) = 0;

  virtual void attention(const TrainAttention& a, Mat out) = 0;
  /// out: what attention made. d_q, d_k and d_v are written; they must not overlap the operands.
  virtual void attention_backward(const TrainAttention& a, ConstMat out, ConstMat d_out, Mat d_q,
                                  Mat d_k, Mat d_v) = 0;

  /// y = 0, then y[rows[i]] = x[i].
  virtual void put_rows(ConstMat x, const int32_t* rows, Mat y) = 0;
  /// d_x[t] = d_mean[s] / (tokens of s) for each token t of sequence s: backward of Ops::mean_rows.
  virtual void mean_rows_backward(ConstMat d_mean, const int32_t* cu_seqlens, Mat d_x) = 0;

  virtual void zero(float* x, const Rows& rows) = 0;
  /// Added up in double in a fixed order; given to the host.
  virtual double sum_of_squares(const float* x, const Rows& rows) = 0;
  virtual void adamw(const AdamW& options, const Rows& rows, const float* gradient,
                     float* first_moment, float* second_moment, float* weight) = 0;
};

}  // namespace tamis
