#pragma once

// The arguments of the CUDA kernels of training. What each computes is said in device/train_ops.h;
// as in kernel_args.h there are no gaps between the members.

#include "backend/cuda/kernel_args.h"

namespace tamis::cuda {

/// One side of a product: element (r, c) is data[r * row_step + c * col_step].
struct FactorArg {
  const float* data;
  int64_t row_step, col_step;
};

/// y = a b + bias, or y += a b, by plain sums, for what cublasLt is not asked for.
struct ProductArgs {
  FactorArg a, b;
  int64_t inner;  ///< columns of a
  const float* bias;
  Rows y;
  uint32_t accumulate;  ///< 0 or 1
  Unused unused = 0;
};

/// Rows that one partial sum over a column takes in: f32 keeps its digits, and the order of the
/// sum depends on nothing else.
inline constexpr int64_t kSumRows = 64;

/// sums[piece][c] = sum of x[r][c] over kSumRows rows; with stats also hat_sums, the sum of x[r][c]
/// (normed[r][c] - mean) / deviation.
struct ColumnSumArgs {
  ConstRows x, normed;
  const float* stats;      ///< [x.rows, 2]; null: no hat_sums
  float *sums, *hat_sums;  ///< [pieces, x.cols]
};

/// to[c] += each of the pieces in turn.
struct AddSumsArgs {
  const float* sums;  ///< [pieces, cols]
  int64_t pieces, cols;
  float* to;
};

/// table[rows[r]] += x[r], in the order of the rows of x.
struct AddRowsArgs {
  ConstRows x;
  const int32_t* rows;  ///< [x.rows]
  float* table;         ///< [., x.cols]
};

struct LayerNormBackwardArgs {
  ConstRows d_y, x;
  const float *stats, *gamma;
  Rows d_x;
};

/// y = f(x), or f'(x) d_y where d_y.data is not null.
struct ActivationArgs {
  ConstRows x, d_y;
  Rows y;
  Activation activation;
  Unused unused = 0;
};

/// A dropout's draws for a matrix whose row r is of token r % tokens and of head r / tokens.
struct DropoutDraws {
  const uint32_t* noise_rows;  ///< [tokens]
  int64_t tokens;
  uint64_t seed;
  uint32_t site;
  uint32_t threshold;  ///< 0: nothing is dropped, and noise_rows is not read
  float scale;         ///< of what is kept
  Unused unused = 0;
};

struct DropoutArgs {
  ConstRows x, residual;  ///< residual.data may be null
  Rows y;
  DropoutDraws draws;
};

struct ScaleArgs {
  Rows x;
  float factor;
  Unused unused = 0;
};

/// From attention's probabilities p, a row of all keys for each head and query, and the gradient
/// d_p of what dropout made of them: p becomes what dropout made of it, d_p the gradient of the
/// scores before they were scaled.
struct SoftmaxBackwardArgs {
  Rows p, d_p;
  ConstRows out, d_out;  ///< [queries, heads * head_dim], of the queries of p
  DropoutDraws draws;
  int64_t head_dim;
  float scale;
  Unused unused = 0;
};

/// Rows of `width` numbers, `stride` apart: those with these ids, or the first `count`.
struct RowSet {
  const int32_t* ids;  ///< may be null
  int64_t count, width, stride;
};

struct ZeroArgs {
  float* x;
  RowSet rows;
};

/// sums[block] = the sum of squares of what a block of the grid took.
struct SquareSumArgs {
  const float* x;
  RowSet rows;
  double* sums;  ///< [grid]
};

struct AdamWArgs {
  const float* gradient;
  float *first, *second, *weight;
  RowSet rows;
  float gradient_scale, beta1, beta2, epsilon;
  float step_size;          ///< learning rate / (1 - beta1^step)
  float second_correction;  ///< 1 / sqrt(1 - beta2^step)
  float kept_weight;        ///< 1 - learning rate * weight decay
  Unused unused = 0;
};

}  // namespace tamis::cuda
