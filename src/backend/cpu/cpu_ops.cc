#include "backend/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fail.h"

namespace tamis {

std::byte* CpuOps::part_of(std::span<std::byte> all, int thread, size_t bytes) const {
  const size_t part = all.size() / static_cast<size_t>(pool_.threads()) / 64 * 64;
  if (bytes > part) {
    fail(ErrorCode::kInternal, "cpu: an op needs {} bytes of scratch, and has {}", bytes, part);
  }
  return all.data() + static_cast<size_t>(thread) * part;
}

void CpuOps::for_each_row(int64_t rows, int64_t cols,
                          const std::function<void(int64_t, int)>& task) {
  constexpr int64_t kMinElements = 1 << 14;
  const int64_t step = std::max<int64_t>(1, kMinElements / std::max<int64_t>(cols, 1));
  pool_.parallel_for(static_cast<size_t>((rows + step - 1) / step), [&](size_t i, int thread) {
    const int64_t begin = static_cast<int64_t>(i) * step;
    for (int64_t r = begin; r < std::min(rows, begin + step); ++r) task(r, thread);
  });
}

void CpuOps::embed_layer_norm(const EmbeddingWeights& w, const BatchView& batch, Mat out) {
  const int64_t row_bytes = w.hidden * static_cast<int64_t>(size_of(w.word_dtype));
  for_each_row(batch.tokens, w.hidden, [&](int64_t t, int) {
    float* row = out.row(t);
    table_.to_f32(w.word_dtype, w.words + batch.ids[t] * row_bytes, w.hidden, row);
    table_.add(w.types + batch.type_ids[t] * w.hidden, w.hidden, row);
    table_.layer_norm(row, w.positions + batch.positions[t] * w.hidden, w.norm.gamma, w.norm.beta,
                      w.norm.eps, w.hidden, row, nullptr);
  });
}

void CpuOps::add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& w, Mat y) {
  for_each_row(x.rows, x.cols, [&](int64_t r, int) {
    table_.layer_norm(x.row(r), residual.data ? residual.row(r) : nullptr, w.gamma, w.beta, w.eps,
                      x.cols, y.row(r), nullptr);
  });
}

void CpuOps::attention(const AttentionView& a, Mat out) {
  const int64_t head_dim = a.q.cols / a.heads;
  const bool bf16 = a.dtype == DType::kI8 && table_.bf16 != nullptr;
  const auto scratch_floats = bf16 ? table_.attention_bf16_scratch : table_.attention_scratch;
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
    const size_t floats = scratch_floats(args.queries, args.keys, head_dim);
    auto* scratch = reinterpret_cast<float*>(part_of(scratch_, thread, floats * sizeof(float)));
    if (bf16) {
      table_.attention_bf16(*table_.bf16, args, scratch);
    } else {
      table_.attention(args, scratch);
    }
  });
}

void CpuOps::gather_rows(ConstMat x, const int32_t* rows, Mat y) {
  for (int64_t i = 0; i < y.rows; ++i) {
    std::memmove(y.row(i), x.row(rows[i]), static_cast<size_t>(x.cols) * sizeof(float));
  }
}

void CpuOps::mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) {
  for_each_row(y.rows, y.cols * 64, [&](int64_t s, int) {
    std::fill_n(y.row(s), y.cols, 0.0f);
    for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
      table_.add(x.row(t), y.cols, y.row(s));
    }
    table_.scale(1.0f / static_cast<float>(cu_seqlens[s + 1] - cu_seqlens[s]), y.cols, y.row(s));
  });
}

void CpuOps::max_rows(ConstMat x, bool more, Mat y) {
  if (!more && x.rows > 0) std::copy_n(x.row(0), x.cols, y.row(0));
  constexpr int64_t kColumns = 4096;  // what stays in the first cache while the rows pass
  pool_.parallel_for(static_cast<size_t>((x.cols + kColumns - 1) / kColumns), [&](size_t i, int) {
    const int64_t begin = static_cast<int64_t>(i) * kColumns;
    const int64_t end = std::min(x.cols, begin + kColumns);
    float* best = y.row(0);
    for (int64_t r = more ? 0 : 1; r < x.rows; ++r) {
      const float* row = x.row(r);
      for (int64_t c = begin; c < end; ++c) {
        best[c] = row[c] > best[c] || row[c] != row[c] ? row[c] : best[c];
      }
    }
  });
}

void CpuOps::l2_normalize(Mat y) {
  for (int64_t r = 0; r < y.rows; ++r) {
    const float norm = std::sqrt(table_.dot(y.row(r), y.row(r), y.cols));
    table_.scale(1.0f / std::max(norm, 1e-12f), y.cols, y.row(r));
  }
}

}  // namespace tamis
