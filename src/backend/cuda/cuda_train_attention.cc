// Attention for training: products of cublasLt for all heads of a sequence at once, a fixed number
// of queries at a time, so that only their rows of probabilities are ever in memory. Backward makes
// the same ones again from q and k.

#include <algorithm>
#include <cmath>

#include "backend/cuda/cuda_train_ops.h"
#include "backend/cuda/kernels.h"

namespace tamis::cuda {
namespace {

/// Queries of a chunk. Fixed, so that the order in which chunks add to the gradients of keys and
/// values follows from the lengths alone. Rows enough for a product of a card; not measured.
constexpr int64_t kQueries = 128;

/// A product for each head: where an operand of this head begins follows from its `step`.
struct Operand {
  const float* data;
  int64_t stride, step;
  bool by_column = false;
};

/// The rows [begin, end) of a matrix [tokens, heads * head_dim], head by head.
Operand heads_of(ConstMat m, int64_t begin, int64_t head_dim, bool by_column = false) {
  return {m.row(begin), m.stride, head_dim, by_column};
}

/// The rows of probabilities, head by head.
Operand heads_of(const Rows& p, int64_t queries, bool by_column = false) {
  return {p.data, p.stride, queries * p.stride, by_column};
}

Product product_of(int64_t heads, int64_t rows, int64_t in, int64_t out, const Operand& x,
                   const Operand& w, float* y, int64_t y_stride, int64_t y_step) {
  Product p;
  p.batch = static_cast<int>(heads);
  p.rows = rows;
  p.in = in;
  p.out = out;
  p.x = x.data;
  p.x_stride = x.stride;
  p.x_step = x.step;
  p.x_by_column = x.by_column;
  p.w = w.data;
  p.w_stride = w.stride;
  p.w_step = w.step;
  p.by_column = w.by_column;
  p.y = y;
  p.y_stride = y_stride;
  p.y_step = y_step;
  return p;
}

float score_scale(const TrainAttention& a) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(a.q.cols / a.heads)));
}

}  // namespace

size_t attention_floats(int64_t heads, int64_t longest) {
  return static_cast<size_t>(heads * std::min(kQueries, longest) * padded_keys(longest));
}

template <class F>
void CudaTrainOps::for_each_chunk(const TrainAttention& a, const F& f) {
  for (int64_t s = 0; s < a.sequences; ++s) {
    const int64_t first = a.host_cu_seqlens[s], last = a.host_cu_seqlens[s + 1];
    const int64_t keys = last - first, stride = padded_keys(keys);
    for (int64_t begin = first; begin < last; begin += kQueries) {
      Chunk c{begin, std::min(last, begin + kQueries), first, keys, {}, {}, {}};
      const int64_t rows = a.heads * c.queries();
      auto* p = room<float>(2 * static_cast<size_t>(rows * stride));
      c.p = {p, rows, keys, stride};
      c.d_p = {p + rows * stride, rows, keys, stride};
      c.draws = draws_of(a.dropout, a.dropout ? a.noise_rows + begin : nullptr, c.queries());
      f(c);
    }
  }
}

void CudaTrainOps::probabilities(const TrainAttention& a, const Chunk& c) {
  const int64_t d = a.q.cols / a.heads;
  Product scores =
      product_of(a.heads, c.queries(), d, c.keys, heads_of(a.q, c.begin, d),
                 heads_of(a.k, c.first_key, d), c.p.data, c.p.stride, c.queries() * c.p.stride);
  scores.scale = score_scale(a);
  multiply(scores);
  launch("softmax_rows", tamis_softmax_rows, blocks(c.p.rows, 1), {c.p});
}

void CudaTrainOps::attention(const TrainAttention& a, Mat out) {
  const int64_t d = a.q.cols / a.heads;
  for_each_chunk(a, [&](const Chunk& c) {
    probabilities(a, c);
    if (a.dropout) drop({c.p.data, c.p.rows, c.p.cols, c.p.stride}, {}, c.p, c.draws);
    multiply(product_of(a.heads, c.queries(), c.keys, d, heads_of(c.p, c.queries()),
                        heads_of(a.v, c.first_key, d, true), out.row(c.begin), out.stride, d));
  });
}

void CudaTrainOps::attention_backward(const TrainAttention& a, ConstMat out, ConstMat d_out,
                                      Mat d_q, Mat d_k, Mat d_v) {
  const int64_t heads = a.heads, d = a.q.cols / heads;
  for_each_chunk(a, [&](const Chunk& c) {
    const int64_t n = c.queries();
    probabilities(a, c);
    multiply(product_of(heads, n, d, c.keys, heads_of(d_out, c.begin, d),
                        heads_of(a.v, c.first_key, d), c.d_p.data, c.d_p.stride, n * c.d_p.stride));
    launch("softmax_backward", tamis_softmax_backward, blocks(c.p.rows, 1),
           {c.p, c.d_p, rows(out.row_range(c.begin, c.end)), rows(d_out.row_range(c.begin, c.end)),
            c.draws, d, score_scale(a)});
    multiply(product_of(heads, n, c.keys, d, heads_of(c.d_p, n),
                        heads_of(a.k, c.first_key, d, true), d_q.row(c.begin), d_q.stride, d));
    // Keys and values gather from all queries, chunk after chunk.
    Product to_k = product_of(heads, c.keys, n, d, heads_of(c.d_p, n, true),
                              heads_of(a.q, c.begin, d, true), d_k.row(c.first_key), d_k.stride, d);
    Product to_v =
        product_of(heads, c.keys, n, d, heads_of(c.p, n, true), heads_of(d_out, c.begin, d, true),
                   d_v.row(c.first_key), d_v.stride, d);
    to_k.accumulate = to_v.accumulate = c.begin > c.first_key;
    multiply(to_k);
    multiply(to_v);
  });
}

}  // namespace tamis::cuda
