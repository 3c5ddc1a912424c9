#pragma once

// Pure functions on pointers, one table for each instruction set. No allocation, threads or errors.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "numeric/activation.h"
#include "numeric/dtype.h"

namespace tamis::kernels {

/// C[rows, cols] = act(A[rows, k] * W^T + bias) for the column panels [panel_begin, panel_end).
/// W is packed: panel p holds columns [p*nr, (p+1)*nr) as [k][nr] of `dtype`, zero beyond cols.
struct GemmArgs {
  const float* a;
  int64_t lda;
  int64_t rows;
  int64_t k;
  const std::byte* packed;  ///< aligned to 64 bytes
  DType dtype;              ///< f32, f16 or bf16
  const float* bias;        ///< [panels * nr], zeros beyond cols; never null
  int64_t cols;
  int64_t panel_begin;
  int64_t panel_end;
  Activation activation;
  float* c;
  int64_t ldc;
};

/// softmax(scale * Q K^T) V of one head of one sequence; no mask, every key counts.
struct AttentionArgs {
  const float* q;  ///< [queries, head_dim], rows q_stride apart
  const float* k;  ///< [keys, head_dim], rows kv_stride apart
  const float* v;
  float* out;  ///< [queries, head_dim], rows out_stride apart
  int64_t q_stride;
  int64_t kv_stride;
  int64_t out_stride;
  int64_t queries;
  int64_t keys;
  int64_t head_dim;
  float scale;
};

/// One row of a weight matrix as stored; null data is a row of zeros.
struct StoredRow {
  const std::byte* data;
  DType dtype;
};

struct KernelTable {
  std::string_view isa;  ///< "avx512", "avx2", "sse4", "baseline"
  int64_t mr;            ///< rows of the GEMM's register tile
  int64_t nr;            ///< columns of it, and of a packed panel

  /// One panel of packed weights, [k][nr] of `dtype`, from nr rows of W [., k]. False if a value is
  /// NaN or infinite, or becomes so in `dtype`.
  bool (*pack_panel)(const StoredRow* rows, int64_t k, DType dtype, std::byte* panel);
  /// Scratch: gemm_scratch(rows, k) floats.
  void (*gemm)(const GemmArgs& args, float* scratch);
  /// Scratch: attention_scratch(queries, keys, head_dim) floats.
  void (*attention)(const AttentionArgs& args, float* scratch);
  /// y = (v - mean(v)) / sqrt(var(v) + eps) * gamma + beta with v = x + residual (may be null).
  /// y may be x or residual.
  void (*layer_norm)(const float* x, const float* residual, const float* gamma, const float* beta,
                     float eps, int64_t n, float* y);
  /// y += x
  void (*add)(const float* x, int64_t n, float* y);
  /// y *= s
  void (*scale)(float s, int64_t n, float* y);
  float (*dot)(const float* a, const float* b, int64_t n);
  /// False if one of x is NaN or infinite.
  bool (*all_finite)(const float* x, int64_t n);
  /// A floating storage type to f32; src may be unaligned.
  void (*to_f32)(DType dtype, const std::byte* src, int64_t n, float* dst);

  size_t (*gemm_scratch)(int64_t rows, int64_t k);
  size_t (*attention_scratch)(int64_t queries, int64_t keys, int64_t head_dim);
};

/// The tables that this CPU can run, best first; never empty.
std::vector<const KernelTable*> supported_tables();
/// By name, or null if this CPU cannot run it or it is unknown.
const KernelTable* find_table(std::string_view isa);

}  // namespace tamis::kernels
