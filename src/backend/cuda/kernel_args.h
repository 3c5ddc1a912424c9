#pragma once

// The arguments of the CUDA kernels: each takes one struct by value, so that a launch is (kernel,
// shape, struct) everywhere, on a card and in the host emulation. Matrices are f32, rows `stride`
// elements apart. What each computes is said in device/ops.h.

#include <cstdint>

#include "numeric/activation.h"
#include "numeric/dtype.h"

namespace tamis::cuda {

/// Rows x cols of f32 of the device.
struct Rows {
  float* data;
  int64_t rows, cols, stride;
};
struct ConstRows {
  const float* data;
  int64_t rows, cols, stride;
};

// Without gaps between the members: the fake runtime of the tests looks at all bytes of an argument
// for addresses that no longer live.
using Unused = uint32_t;

struct EmbedArgs {
  const void* words;                             ///< [vocab, hidden] of word_dtype
  const float *positions, *types;                ///< [., hidden]
  const int32_t *ids, *position_ids, *type_ids;  ///< [out.rows]
  const float *gamma, *beta;                     ///< [hidden]
  float eps;
  DType word_dtype;  ///< f32, f16 or bf16
  Rows out;
};

struct LayerNormArgs {
  ConstRows x, residual;  ///< residual.data may be null
  const float *gamma, *beta;
  Rows y;
  float* stats;  ///< [rows, 2]: mean and 1/sqrt(var + eps) for a backward pass; may be null
  float eps;
  Unused unused = 0;
};

/// y[r][c] = act(y[r][c] + bias[c])
struct BiasArgs {
  Rows y;
  const float* bias;
  Activation activation;
  Unused unused = 0;
};

/// y[r][c] = f16 or bf16 of x[r][c]; columns up to y_stride are zero.
struct NarrowArgs {
  ConstRows x;
  uint16_t* y;
  int64_t y_stride;
  DType dtype;
  Unused unused = 0;
};

/// y = act(x W^T + bias) by plain dot products, for layers that cublasLt has no kernel for.
struct DotArgs {
  ConstRows x;
  const void* weights;  ///< [y.cols, x.cols] of dtype
  const float* bias;
  Rows y;
  DType dtype;  ///< f32, f16 or bf16
  Activation activation;
};

struct GatherArgs {
  ConstRows x;
  const int32_t* rows;  ///< [y.rows]
  Rows y;
};

struct MeanArgs {
  ConstRows x;
  const int32_t* cu_seqlens;  ///< [y.rows + 1]
  Rows y;
};

struct MaxArgs {
  ConstRows x;
  Rows y;
  uint32_t more;  ///< 0 or 1
  Unused unused = 0;
};

struct NormalizeArgs {
  Rows y;
};

/// Each row of x becomes its softmax, in place.
struct SoftmaxArgs {
  Rows x;
};

/// Packed attention with q, k, v and the probabilities rounded to f16 or bf16 and sums in f32.
struct AttentionArgs {
  ConstRows q, k, v;
  const int32_t *cu_queries, *cu_keys;  ///< [sequences + 1]
  Rows out;
  uint32_t bf16;  ///< 0: f16
  Unused unused = 0;
};

/// Threads of a block of the row kernels (one block a row) and of the element kernels.
inline constexpr int kThreads = 128;
/// Query rows of a block of attention: four warps of 16.
inline constexpr int kAttentionRows = 64;
inline constexpr int kAttentionThreads = 128;

}  // namespace tamis::cuda
