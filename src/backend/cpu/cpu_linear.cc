// Linear layers of the cpu device: how they are packed, and how a call is split into tasks.

#include <algorithm>
#include <atomic>
#include <cstring>

#include "backend/cpu/cpu_ops.h"
#include "base/fail.h"
#include "numeric/quantization.h"

namespace tamis {
namespace {

// A task of fewer multiply-adds than this is not handed out by itself: at the 40 billion a second
// of an AVX2 core it would end in 13 us, of the order of a fork and join. Not tuned.
constexpr int64_t kMinTaskWork = 1 << 19;
// Tasks of a thread, and columns of a task: each task copies the rows anew, so few are better (2 of
// at most 32 panels instead of 4 of 16: 5 % of a whole pass of 512 tokens on two threads), but one
// a thread leaves nothing to even out. 32 panels are 4 MB of weights at k = 1024 with AVX-512.
constexpr int64_t kTasksPerThread = 2;
constexpr int64_t kMaxTaskPanels = 32;

size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Names the first NaN or Inf of a source that is known to have one.
[[noreturn]] void fail_not_finite(const LinearSource& source, DType dtype) {
  std::vector<const TensorView*> tensors = source.weights;
  for (const TensorView* b : source.biases) {
    if (b != nullptr) tensors.push_back(b);
  }
  for (const TensorView* tensor : tensors) require_finite(*tensor, dtype);
  fail(ErrorCode::kInternal, "tensor {}: not finite after packing", tensors[0]->name);
}

std::vector<kernels::StoredRow> stored_rows(const LinearSource& source) {
  const auto in = static_cast<size_t>(source.weights[0]->shape[1]);
  const size_t outliers =
      source.quantization != nullptr ? source.quantization->outlier_columns.size() : 0;
  std::vector<kernels::StoredRow> rows;
  for (size_t i = 0; i < source.weights.size(); ++i) {
    const TensorView& w = *source.weights[i];
    for (size_t r = 0; r < static_cast<size_t>(w.shape[0]); ++r) {
      kernels::StoredRow row{w.bytes.data() + r * in * size_of(w.dtype), w.dtype};
      if (w.dtype == DType::kI8) {
        row.scale = source.int8[i].scale[r];
        row.outliers = source.int8[i].outliers + r * outliers;
      }
      rows.push_back(row);
    }
  }
  return rows;
}

/// Panels of a task. Tasks split columns, not rows: each weight is then read by one core only.
int64_t panels_of_task(int64_t panels, int64_t panel_work, int threads) {
  const int64_t tasks = kTasksPerThread * threads;
  const int64_t even = (panels + tasks - 1) / tasks;
  const int64_t least = (kMinTaskWork + panel_work - 1) / panel_work;
  return std::clamp(std::max(even, least), int64_t{1}, kMaxTaskPanels);
}

/// Where quantised activations lie in the scratch.
struct QuantizedLayout {
  QuantizedLayout(int64_t rows, int64_t inputs)
      // A cache line more than the inputs need, so that rows do not share cache sets.
      : lda((inputs + kernels::kInt8Depth - 1) / kernels::kInt8Depth * kernels::kInt8Depth + 64),
        scales(static_cast<size_t>((rows + kernels::kInt8RowGroup) * lda)),
        outliers(scales + round_up(static_cast<size_t>(rows) * sizeof(kernels::RowScale))),
        bytes(outliers +
              round_up(static_cast<size_t>(rows * max_outlier_columns(inputs)) * sizeof(float))) {}
  int64_t lda;
  size_t scales, outliers, bytes;
};

/// Behind the panels of an int8 layer: how its input is quantised.
struct Int8Tail {
  explicit Int8Tail(const std::byte* p, int64_t inputs)
      : counts(reinterpret_cast<const int32_t*>(p)),
        columns(counts + 2),
        factors(reinterpret_cast<const float*>(columns + max_outlier_columns(inputs))) {}
  static size_t bytes(int64_t inputs) {
    return static_cast<size_t>(2 + max_outlier_columns(inputs) + inputs) * 4;
  }
  const int32_t* counts;   ///< outlier columns; whether there are factors
  const int32_t* columns;  ///< [max_outlier_columns]
  const float* factors;    ///< [inputs]: smoothing, and 0 for outlier columns
};

void write_int8_tail(const InputQuantization& input, int64_t inputs, std::byte* to) {
  std::memset(to, 0, Int8Tail::bytes(inputs));
  const Int8Tail tail(to, inputs);
  auto* counts = reinterpret_cast<int32_t*>(to);
  counts[0] = static_cast<int32_t>(input.outlier_columns.size());
  counts[1] = input.smoothing.empty() && input.outlier_columns.empty() ? 0 : 1;
  std::copy(input.outlier_columns.begin(), input.outlier_columns.end(), counts + 2);
  auto* factors = const_cast<float*>(tail.factors);
  std::fill_n(factors, inputs, 1.0f);
  std::copy(input.smoothing.begin(), input.smoothing.end(), factors);
  for (int32_t column : input.outlier_columns) factors[column] = 0.0f;
}

size_t int8_thread_bytes(const kernels::KernelTable& table, int64_t rows) {
  return round_up(table.gemm_int8_scratch(rows) * sizeof(int32_t));
}

}  // namespace

CpuLinearLayout::CpuLinearLayout(int64_t in, int64_t out, DType dtype, int64_t nr)
    : panels((out + nr - 1) / nr),
      panel_bytes(dtype == DType::kI8 ? kernels::Int8Panel(in, nr).bytes
                                      : static_cast<size_t>(in * nr) * size_of(dtype)),
      tail(round_up(static_cast<size_t>(panels) * panel_bytes)),
      bytes(tail + (dtype == DType::kI8 ? Int8Tail::bytes(in)
                                        : static_cast<size_t>(panels * nr) * sizeof(float))) {}

size_t cpu_scratch_bytes(const kernels::KernelTable& table, const ScratchShape& shape,
                         int threads) {
  const auto n = static_cast<size_t>(threads);
  const size_t floats =
      std::max({table.gemm_scratch(shape.tokens, shape.features),
                table.attention_scratch(shape.tokens, shape.tokens, shape.head_dim),
                table.attention_bf16_scratch(shape.tokens, shape.tokens, shape.head_dim)});
  const size_t plain = n * round_up(floats * sizeof(float));
  if (shape.dtype != DType::kI8) return plain;
  return std::max(plain, QuantizedLayout(shape.tokens, shape.features).bytes +
                             n * int8_thread_bytes(table, shape.tokens));
}

void CpuOps::pack_linear(const LinearSource& source, DType dtype, std::byte* out) {
  const int64_t in = source.weights[0]->shape[1];
  const int64_t nr = table_.nr;
  if (dtype == DType::kI8 && in > kernels::kMaxInt8Inputs) {
    fail(ErrorCode::kUnimplemented, "tensor {}: int8 takes at most {} inputs, got {}",
         source.weights[0]->name, kernels::kMaxInt8Inputs, in);
  }
  std::vector<kernels::StoredRow> rows = stored_rows(source);
  const auto features = static_cast<int64_t>(rows.size());
  const CpuLinearLayout layout(in, features, dtype, nr);
  rows.resize(static_cast<size_t>(layout.panels * nr), {nullptr, DType::kF32});
  const InputQuantization none;
  const InputQuantization& input = source.quantization != nullptr ? *source.quantization : none;
  std::atomic<bool> finite{true};
  pool_.parallel_for(static_cast<size_t>(layout.panels), [&](size_t p, int) {
    const kernels::StoredRow* panel_rows = rows.data() + static_cast<int64_t>(p) * nr;
    std::byte* panel = out + p * layout.panel_bytes;
    const bool good = dtype == DType::kI8 ? table_.pack_int8_panel(panel_rows, in, input, panel)
                                          : table_.pack_panel(panel_rows, in, dtype, panel);
    if (!good) finite = false;
  });
  std::vector<float> bias(static_cast<size_t>(layout.panels * nr), 0.0f);
  for (size_t i = 0, at = 0; i < source.weights.size(); ++i) {
    const auto n = static_cast<size_t>(source.weights[i]->shape[0]);
    if (const TensorView* b = source.biases[i]; b != nullptr) {
      convert_to_f32(b->dtype, b->bytes.data(), bias.data() + at, n);
    }
    at += n;
  }
  if (!finite || !table_.all_finite(bias.data(), features)) fail_not_finite(source, dtype);
  if (dtype != DType::kI8) {
    std::memcpy(out + layout.tail, bias.data(), bias.size() * sizeof(float));
    return;
  }
  const kernels::Int8Panel panel(in, nr);
  for (int64_t p = 0; p < layout.panels; ++p) {
    std::memcpy(out + static_cast<size_t>(p) * layout.panel_bytes + panel.bias,
                bias.data() + p * nr, static_cast<size_t>(nr) * sizeof(float));
  }
  write_int8_tail(input, in, out + layout.tail);
}

void CpuOps::linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) {
  if (x.rows == 0) return;
  if (weights.dtype == DType::kI8) return linear_int8(weights, x, activation, y);
  const CpuLinearLayout layout(weights.in_features, weights.out_features, weights.dtype, table_.nr);
  const size_t scratch_bytes = table_.gemm_scratch(x.rows, x.cols) * sizeof(float);
  const int64_t step = panels_of_task(layout.panels, x.rows * x.cols * table_.nr, pool_.threads());
  pool_.parallel_for(
      static_cast<size_t>((layout.panels + step - 1) / step), [&](size_t i, int thread) {
        kernels::GemmArgs args;
        args.a = x.data;
        args.lda = x.stride;
        args.rows = x.rows;
        args.k = x.cols;
        args.packed = weights.data;
        args.dtype = weights.dtype;
        args.bias = reinterpret_cast<const float*>(weights.data + layout.tail);
        args.cols = weights.out_features;
        args.panel_begin = static_cast<int64_t>(i) * step;
        args.panel_end = std::min(layout.panels, args.panel_begin + step);
        args.activation = activation;
        args.c = y.data;
        args.ldc = y.stride;
        table_.gemm(args, reinterpret_cast<float*>(part_of(scratch_, thread, scratch_bytes)));
      });
}

void CpuOps::linear_int8(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) {
  const CpuLinearLayout layout(weights.in_features, weights.out_features, DType::kI8, table_.nr);
  const QuantizedLayout quantized(x.rows, x.cols);
  const size_t thread_bytes = int8_thread_bytes(table_, x.rows);
  if (scratch_.size() < quantized.bytes) {
    fail(ErrorCode::kInternal, "cpu: int8 activations need {} bytes of scratch, of {}",
         quantized.bytes, scratch_.size());
  }
  const std::span<std::byte> rest = scratch_.subspan(quantized.bytes);
  const Int8Tail tail(weights.data + layout.tail, x.cols);
  const int64_t outliers = tail.counts[0];
  auto* q = reinterpret_cast<uint8_t*>(scratch_.data());
  auto* scales = reinterpret_cast<kernels::RowScale*>(scratch_.data() + quantized.scales);
  auto* outlier_values = reinterpret_cast<float*>(scratch_.data() + quantized.outliers);

  for_each_row(x.rows, x.cols, [&](int64_t r, int) {
    table_.quantize_row({.x = x.row(r),
                         .inputs = x.cols,
                         .factors = tail.counts[1] != 0 ? tail.factors : nullptr,
                         .outlier_columns = tail.columns,
                         .outlier_count = outliers,
                         .levels = table_.int8->levels,
                         .q = q + r * quantized.lda,
                         .scale = scales + r,
                         .outliers = outlier_values + r * outliers});
  });
  const int64_t step =
      panels_of_task(layout.panels, (x.rows * x.cols * table_.nr + 3) / 4, pool_.threads());
  pool_.parallel_for(
      static_cast<size_t>((layout.panels + step - 1) / step), [&](size_t i, int thread) {
        const int64_t begin = static_cast<int64_t>(i) * step;
        table_.gemm_int8(*table_.int8,
                         {.a = q,
                          .lda = quantized.lda,
                          .scales = scales,
                          .outliers = outlier_values,
                          .outlier_count = outliers,
                          .rows = x.rows,
                          .inputs = x.cols,
                          .packed = weights.data,
                          .cols = weights.out_features,
                          .panel_begin = begin,
                          .panel_end = std::min(layout.panels, begin + step),
                          .activation = activation,
                          .c = y.data,
                          .ldc = y.stride},
                         reinterpret_cast<int32_t*>(part_of(rest, thread, thread_bytes)));
      });
}

}  // namespace tamis
