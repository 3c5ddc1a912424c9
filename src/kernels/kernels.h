#pragma once

// Pure functions on pointers, one table for each instruction set. No allocation, threads or errors.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/bf16_dot.h"
#include "kernels/int8_dot.h"
#include "numeric/activation.h"
#include "numeric/dtype.h"
#include "numeric/quantization.h"

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
  bool accumulate = false;  ///< C += ... instead
};

/// How a panel of an int8 layer lies in memory. x W^T = x' W'^T + (the outlier columns): W' is s8
/// with a scale for each output, and x' is u8 with a scale and a zero point for each row.
struct Int8Panel {
  Int8Panel(int64_t inputs, int64_t nr);
  int64_t depth;    ///< inputs, padded to kInt8Depth
  int64_t slots;    ///< room for outlier columns, that is inputs of f32
  size_t scales;    ///< offset of f32 [nr]; the weights, s8 [depth / 4][nr][4], come first
  size_t sums;      ///< s32 [nr]: of the weights over the inputs
  size_t bias;      ///< f32 [nr]
  size_t outliers;  ///< f32 [slots][nr]
  size_t bytes;
};

/// x[i] = scale * (q[i] - zero), outlier columns apart. A row with NaN or Inf has a scale of NaN.
struct RowScale {
  float scale;
  int32_t zero;
};

/// A row of activations, to be quantised.
struct QuantizeArgs {
  const float* x;
  int64_t inputs;
  const float* factors;            ///< [inputs] or null: x is multiplied by it; 0 for outliers
  const int32_t* outlier_columns;  ///< ascending
  int64_t outlier_count;
  int32_t levels;   ///< Int8Dot::levels
  uint8_t* q;       ///< [inputs padded to kInt8Depth]
  RowScale* scale;  ///< 1
  float* outliers;  ///< [outlier_count]: the inputs that stay f32
};

/// C[rows, cols] = act(A W^T + bias) for quantised A and the panels [panel_begin, panel_end).
struct Int8GemmArgs {
  const uint8_t* a;  ///< [rows, a multiple of kInt8RowGroup may be read][lda]
  int64_t lda;
  const RowScale* scales;  ///< [rows]
  const float* outliers;   ///< [rows][outlier_count]
  int64_t outlier_count;
  int64_t rows;
  int64_t inputs;
  const std::byte* packed;  ///< aligned to 64 bytes
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

/// A step of AdamW for n weights.
struct AdamWArgs {
  const float* gradient;
  float* first;  ///< moments
  float* second;
  float* weight;
  float gradient_scale;
  float beta1;
  float beta2;
  float epsilon;
  float step_size;          ///< learning rate / (1 - beta1^step)
  float second_correction;  ///< 1 / sqrt(1 - beta2^step)
  float kept_weight;        ///< 1 - learning rate * weight decay
};

/// One row of a weight matrix as stored; null data is a row of zeros.
struct StoredRow {
  const std::byte* data;
  DType dtype;
  float scale = 1.0f;               ///< of dtype i8
  const float* outliers = nullptr;  ///< of dtype i8: [outlier_count], whose columns hold zeros
};

struct KernelTable {
  std::string_view isa;  ///< "amx", "avx512_vnni", "avx512", "avx_vnni", "avx2", "sse4", "baseline"
  int64_t mr;            ///< rows of the GEMM's register tile
  int64_t nr;            ///< columns of it, and of a packed panel

  /// One panel of packed weights, [k][nr] of `dtype`, from nr rows of W [., k]. False if a value is
  /// NaN or infinite, or becomes so in `dtype`.
  bool (*pack_panel)(const StoredRow* rows, int64_t k, DType dtype, std::byte* panel);
  /// One panel of an int8 layer (but for its bias) from nr rows of W [., inputs], floating or i8.
  /// False if a value is NaN or infinite.
  bool (*pack_int8_panel)(const StoredRow* rows, int64_t inputs, const InputQuantization& input,
                          std::byte* panel);
  void (*quantize_row)(const QuantizeArgs& args);
  /// Scratch: gemm_int8_scratch(rows) s32.
  void (*gemm_int8)(const Int8Dot& dot, const Int8GemmArgs& args, int32_t* scratch);
  /// Scratch: gemm_scratch(rows, k) floats.
  void (*gemm)(const GemmArgs& args, float* scratch);
  /// Scratch: attention_scratch(queries, keys, head_dim) floats.
  void (*attention)(const AttentionArgs& args, float* scratch);
  /// The same with its products in bf16. Scratch: attention_bf16_scratch(...), aligned to 64 bytes.
  void (*attention_bf16)(const Bf16Dot& dot, const AttentionArgs& args, float* scratch);
  /// y = (v - mean(v)) / sqrt(var(v) + eps) * gamma + beta with v = x + residual (may be null).
  /// y may be x or residual. stats, if not null: mean and 1/sqrt(var + eps).
  void (*layer_norm)(const float* x, const float* residual, const float* gamma, const float* beta,
                     float eps, int64_t n, float* y, float* stats);
  /// y += x
  void (*add)(const float* x, int64_t n, float* y);
  /// y *= s
  void (*scale)(float s, int64_t n, float* y);
  float (*dot)(const float* a, const float* b, int64_t n);
  /// False if one of x is NaN or infinite.
  bool (*all_finite)(const float* x, int64_t n);
  /// A floating storage type to f32; src may be unaligned.
  void (*to_f32)(DType dtype, const std::byte* src, int64_t n, float* dst);

  // Training (train-inl.h).
  /// y = f(x); y may be x.
  void (*activate_row)(Activation f, const float* x, int64_t n, float* y);
  /// d_x = f'(x) d_y; d_x may be d_y.
  void (*activate_backward)(Activation f, const float* x, const float* d_y, int64_t n, float* d_x);
  /// row = softmax(scale row)
  void (*softmax)(float* row, int64_t n, float scale);
  /// d_p = (dropped d_p - p through) scale: from the gradient of the probabilities, `dropped` of p,
  /// to that of what softmax was given.
  void (*softmax_backward)(const float* p, const float* dropped, float through, float scale,
                           int64_t n, float* d_p);
  /// A row: d_x, and what it adds to d_gamma and d_beta. d_x may be d_y.
  void (*layer_norm_backward)(const float* d_y, const float* x, float mean, float rstd,
                              const float* gamma, int64_t n, float* d_x, float* d_gamma,
                              float* d_beta);
  void (*adamw)(const AdamWArgs& args, int64_t n);

  /// Multiply-adds on registers alone, independent of each other: the most that a core can do.
  /// Returns the floating point operations done, some ten million.
  double (*fma_loop)();

  size_t (*gemm_scratch)(int64_t rows, int64_t k);
  size_t (*gemm_int8_scratch)(int64_t rows);
  size_t (*attention_scratch)(int64_t queries, int64_t keys, int64_t head_dim);
  size_t (*attention_bf16_scratch)(int64_t queries, int64_t keys, int64_t head_dim);
  const Int8Dot* int8;  ///< of the same panels
  const Bf16Dot* bf16;  ///< null where f32 is as fast
};

/// The tables that this CPU can run, best first; never empty. Those of one instruction set with and
/// without int8 instructions of their own differ in `isa` and `int8` alone.
std::vector<const KernelTable*> supported_tables();
/// By name, or null if this CPU cannot run it or it is unknown.
const KernelTable* find_table(std::string_view isa);

}  // namespace tamis::kernels
