#include <algorithm>
#include <cmath>

#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/kernels.h"
#include "base/fail.h"

namespace tamis::cuda {
namespace {

using AttentionKernel = void (*)(AttentionArgs);
AttentionKernel fused_kernel(int64_t head_dim) {
  switch (head_dim) {
    case 32:
      return tamis_attention_32;
    case 64:
      return tamis_attention_64;
    case 128:
      return tamis_attention_128;
  }
  return nullptr;
}

}  // namespace

void CudaOps::attention(const AttentionView& a, Mat out) {
  if (!fused_attention(a, out)) plain_attention(a, out);
}

bool CudaOps::fused_attention(const AttentionView& a, Mat out) {
  const AttentionKernel kernel = fused_kernel(a.q.cols / a.heads);
  // mma.m16n8k16 came with sm_80.
  if (size_of(a.dtype) != 2 || kernel == nullptr || card_.plain_attention || card_.capability < 80)
    return false;
  for (int64_t s = 0; s < a.sequences; s += kMostGridRows) {
    const int64_t some = std::min(kMostGridRows, a.sequences - s);
    int64_t longest = 0;
    for (int64_t i = s; i < s + some; ++i) {
      longest = std::max<int64_t>(longest, a.host_queries[i + 1] - a.host_queries[i]);
    }
    const dim3 grid(static_cast<unsigned>((longest + kAttentionRows - 1) / kAttentionRows),
                    static_cast<unsigned>(a.heads), static_cast<unsigned>(some));
    cuda::launch(card_, "attention", kernel, grid, kAttentionThreads, stream_,
                 {rows(a.q), rows(a.k), rows(a.v), a.cu_queries + s, a.cu_keys + s, rows(out),
                  a.dtype == DType::kBF16});
  }
  return true;
}

// Two products and a softmax, in f32, for some queries of one sequence at a time: as many as their
// scores of all heads fit in the scratch.
void CudaOps::plain_attention(const AttentionView& a, Mat out) {
  for (int64_t s = 0; s < a.sequences; ++s) {
    const int64_t keys = padded_keys(a.host_keys[s + 1] - a.host_keys[s]);
    const auto query_bytes = static_cast<size_t>(a.heads * keys) * sizeof(float);
    const auto step = std::max<int64_t>(1, static_cast<int64_t>(room_.size() / query_bytes));
    const int64_t end = a.host_queries[s + 1];
    for (int64_t begin = a.host_queries[s]; begin < end; begin += step) {
      plain_attention_rows(a, s, begin, std::min(end, begin + step), out);
    }
  }
}

void CudaOps::plain_attention_rows(const AttentionView& a, int64_t sequence, int64_t begin,
                                   int64_t end, Mat out) {
  const int64_t first_key = a.host_keys[sequence];
  const int64_t keys = a.host_keys[sequence + 1] - first_key;
  const int64_t head_dim = a.q.cols / a.heads, queries = end - begin;
  auto* scores = reinterpret_cast<float*>(room_.data());
  Product qk;
  qk.rows = queries;
  qk.in = head_dim;
  qk.out = keys;
  qk.x = a.q.row(begin);
  qk.x_stride = a.q.stride;
  qk.x_step = head_dim;
  qk.w = a.k.row(first_key);
  qk.w_stride = a.k.stride;
  qk.w_step = head_dim;
  qk.y = scores;
  qk.y_stride = padded_keys(keys);
  qk.y_step = queries * qk.y_stride;
  qk.batch = static_cast<int>(a.heads);
  qk.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  Product pv;
  pv.rows = queries;
  pv.in = keys;
  pv.out = head_dim;
  pv.x = scores;
  pv.x_stride = qk.y_stride;
  pv.x_step = qk.y_step;
  pv.w = a.v.row(first_key);
  pv.w_stride = a.v.stride;
  pv.w_step = head_dim;
  pv.y = out.row(begin);
  pv.y_stride = out.stride;
  pv.y_step = head_dim;
  pv.batch = qk.batch;
  pv.by_column = true;
  const auto require = [&](const Product& p) {
    if (matmul_.run(p, stream_)) return;
    fail(ErrorCode::kUnavailable,
         "{}: cublasLt has no algorithm for the products of attention ({} queries, {} keys, {} "
         "heads of {})",
         card_.name, queries, keys, a.heads, head_dim);
  };
  require(qk);
  launch("softmax_rows", tamis_softmax_rows, static_cast<unsigned>(a.heads * queries),
         {{scores, a.heads * queries, keys, qk.y_stride}});
  require(pv);
}

}  // namespace tamis::cuda
