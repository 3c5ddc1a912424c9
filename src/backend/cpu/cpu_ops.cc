#include "backend/cpu/cpu_ops.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/fail.h"

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

/// Names the first NaN or Inf of a source that is known to have one.
[[noreturn]] void fail_not_finite(const LinearSource& source, DType dtype) {
  std::vector<const TensorView*> tensors = source.weights;
  for (const TensorView* b : source.biases) {
    if (b != nullptr) tensors.push_back(b);
  }
  for (const TensorView* tensor : tensors) require_finite(*tensor, dtype);
  fail(ErrorCode::kInternal, "tensor {}: not finite after packing", tensors[0]->name);
}

}  // namespace

CpuLinearLayout::CpuLinearLayout(int64_t in, int64_t out, DType dtype, int64_t nr)
    : panels((out + nr - 1) / nr),
      panel_bytes(static_cast<size_t>(in * nr) * size_of(dtype)),
      bias_offset((static_cast<size_t>(panels) * panel_bytes + 63) / 64 * 64),
      bytes(bias_offset + static_cast<size_t>(panels * nr) * sizeof(float)) {}

size_t cpu_scratch_bytes(const kernels::KernelTable& table, const ScratchShape& shape) {
  const size_t floats =
      std::max(table.gemm_scratch(shape.tokens, shape.features),
               table.attention_scratch(shape.tokens, shape.tokens, shape.head_dim));
  return (floats * sizeof(float) + 63) / 64 * 64;
}

float* CpuOps::scratch(int thread, size_t floats) const {
  const size_t part = scratch_.size() / static_cast<size_t>(pool_.threads()) / 64 * 64;
  if (floats * sizeof(float) > part) {
    fail(ErrorCode::kInternal, "cpu: an op needs {} bytes of scratch, and has {}",
         floats * sizeof(float), part);
  }
  return reinterpret_cast<float*>(scratch_.data() + static_cast<size_t>(thread) * part);
}

void CpuOps::for_each_row(int64_t rows, int64_t cols, const std::function<void(int64_t)>& task) {
  constexpr int64_t kMinElements = 1 << 14;
  const int64_t step = std::max<int64_t>(1, kMinElements / std::max<int64_t>(cols, 1));
  pool_.parallel_for(static_cast<size_t>((rows + step - 1) / step), [&](size_t i, int) {
    const int64_t begin = static_cast<int64_t>(i) * step;
    for (int64_t r = begin; r < std::min(rows, begin + step); ++r) task(r);
  });
}

void CpuOps::pack_linear(const LinearSource& source, DType dtype, std::byte* out) {
  const int64_t in = source.weights[0]->shape[1];
  const int64_t nr = table_.nr;
  std::vector<kernels::StoredRow> rows;
  for (const TensorView* w : source.weights) {
    const size_t row_bytes = static_cast<size_t>(in) * size_of(w->dtype);
    for (int64_t r = 0; r < w->shape[0]; ++r) {
      rows.push_back({w->bytes.data() + static_cast<size_t>(r) * row_bytes, w->dtype});
    }
  }
  const auto features = static_cast<int64_t>(rows.size());
  const CpuLinearLayout layout(in, features, dtype, nr);
  rows.resize(static_cast<size_t>(layout.panels * nr), {nullptr, DType::kF32});
  std::atomic<bool> finite{true};
  pool_.parallel_for(static_cast<size_t>(layout.panels), [&](size_t p, int) {
    if (!table_.pack_panel(rows.data() + static_cast<int64_t>(p) * nr, in, dtype,
                           out + p * layout.panel_bytes)) {
      finite = false;
    }
  });
  auto* bias = reinterpret_cast<float*>(out + layout.bias_offset);
  std::fill_n(bias, layout.panels * nr, 0.0f);
  for (size_t i = 0, at = 0; i < source.weights.size(); ++i) {
    const auto n = static_cast<size_t>(source.weights[i]->shape[0]);
    if (const TensorView* b = source.biases[i]; b != nullptr) {
      convert_to_f32(b->dtype, b->bytes.data(), bias + at, n);
    }
    at += n;
  }
  if (!finite || !table_.all_finite(bias, features)) fail_not_finite(source, dtype);
}

void CpuOps::embed_layer_norm(const EmbeddingWeights& w, const BatchView& batch, Mat out) {
  const int64_t row_bytes = w.hidden * static_cast<int64_t>(size_of(w.word_dtype));
  for_each_row(batch.tokens, w.hidden, [&](int64_t t) {
    float* row = out.row(t);
    table_.to_f32(w.word_dtype, w.words + batch.ids[t] * row_bytes, w.hidden, row);
    table_.add(w.types + batch.type_ids[t] * w.hidden, w.hidden, row);
    table_.layer_norm(row, w.positions + batch.positions[t] * w.hidden, w.norm.gamma, w.norm.beta,
                      w.norm.eps, w.hidden, row);
  });
}

void CpuOps::linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) {
  if (x.rows == 0) return;
  const CpuLinearLayout layout(weights.in_features, weights.out_features, weights.dtype, table_.nr);
  const size_t scratch_floats = table_.gemm_scratch(x.rows, x.cols);
  // Tasks split columns, not rows: each weight is then read by one core only.
  const int64_t panel_work = x.rows * x.cols * table_.nr;
  const int64_t tasks = kTasksPerThread * pool_.threads();
  const int64_t even = (layout.panels + tasks - 1) / tasks;
  const int64_t least = (kMinTaskWork + panel_work - 1) / panel_work;
  const int64_t step = std::clamp(std::max(even, least), int64_t{1}, kMaxTaskPanels);
  pool_.parallel_for(
      static_cast<size_t>((layout.panels + step - 1) / step), [&](size_t i, int thread) {
        kernels::GemmArgs args;
        args.a = x.data;
        args.lda = x.stride;
        args.rows = x.rows;
        args.k = x.cols;
        args.packed = weights.data;
        args.dtype = weights.dtype;
        args.bias = reinterpret_cast<const float*>(weights.data + layout.bias_offset);
        args.cols = weights.out_features;
        args.panel_begin = static_cast<int64_t>(i) * step;
        args.panel_end = std::min(layout.panels, args.panel_begin + step);
        args.activation = activation;
        args.c = y.data;
        args.ldc = y.stride;
        table_.gemm(args, scratch(thread, scratch_floats));
      });
}

void CpuOps::add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& w, Mat y) {
  for_each_row(x.rows, x.cols, [&](int64_t r) {
    table_.layer_norm(x.row(r), residual.row(r), w.gamma, w.beta, w.eps, x.cols, y.row(r));
  });
}

void CpuOps::attention(const AttentionView& a, Mat out) {
  const int64_t head_dim = a.q.cols / a.heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  pool_.parallel_for(static_cast<size_t>(a.sequences * a.heads), [&](size_t i, int thread) {
    const int64_t s = static_cast<int64_t>(i) / a.heads;
    const int64_t col = static_cast<int64_t>(i) % a.heads * head_dim;
    kernels::AttentionArgs args;
    args.q = a.q.row(a.cu_queries[s]) + col;
    args.k = a.k.row(a.cu_keys[s]) + col;
    args.v = a.v.row(a.cu_keys[s]) + col;
    args.out = out.row(a.cu_queries[s]) + col;
    args.q_stride = a.q.stride;
    args.kv_stride = a.k.stride;
    args.out_stride = out.stride;
    args.queries = a.cu_queries[s + 1] - a.cu_queries[s];
    args.keys = a.cu_keys[s + 1] - a.cu_keys[s];
    args.head_dim = head_dim;
    args.scale = scale;
    table_.attention(args,
                     scratch(thread, table_.attention_scratch(args.queries, args.keys, head_dim)));
  });
}

void CpuOps::gather_rows(ConstMat x, const int32_t* rows, Mat y) {
  for (int64_t i = 0; i < y.rows; ++i) {
    std::memmove(y.row(i), x.row(rows[i]), static_cast<size_t>(x.cols) * sizeof(float));
  }
}

void CpuOps::mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) {
  for_each_row(y.rows, y.cols * 64, [&](int64_t s) {
    std::fill_n(y.row(s), y.cols, 0.0f);
    for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
      table_.add(x.row(t), y.cols, y.row(s));
    }
    table_.scale(1.0f / static_cast<float>(cu_seqlens[s + 1] - cu_seqlens[s]), y.cols, y.row(s));
  });
}

void CpuOps::l2_normalize(Mat y) {
  for (int64_t r = 0; r < y.rows; ++r) {
    const float norm = std::sqrt(table_.dot(y.row(r), y.row(r), y.cols));
    table_.scale(1.0f / std::max(norm, 1e-12f), y.cols, y.row(r));
  }
}

}  // namespace tamis
