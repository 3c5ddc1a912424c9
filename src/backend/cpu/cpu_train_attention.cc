// Attention for training: the probabilities of a block of queries are in memory, for dropout takes
// hold of them, and backward makes the same ones again from q and k.

#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_train_ops.h"
#include "device/dropout_mask.h"

namespace tamis {
namespace {

constexpr int64_t kAlign = 16;  // floats: 64 bytes

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Sizes that follow from a sequence of n tokens and a head of d.
struct Sizes {
  Sizes(const kernels::KernelTable& table, int64_t tokens, int64_t head_dim)
      : n(tokens),
        d(head_dim),
        block(std::min(8 * table.mr, tokens)),
        stride(round_up(tokens, kAlign)),
        over_tokens(round_up(tokens, table.nr) * head_dim),
        over_head(round_up(head_dim, table.nr)),
        gemm(static_cast<int64_t>(
            table.gemm_scratch(std::max(tokens, block), std::max(tokens, head_dim)))),
        zeros(std::max(round_up(tokens, table.nr), over_head)) {}
  int64_t n, d;
  int64_t block;        ///< queries at a time
  int64_t stride;       ///< of rows of probabilities
  int64_t over_tokens;  ///< floats of panels whose columns are tokens
  int64_t over_head;    ///< columns of panels whose columns are a head's
  int64_t gemm;
  int64_t zeros;
};

/// Hands out 64-byte aligned pieces of a thread's scratch.
class Pieces {
 public:
  explicit Pieces(float* at) : at_(at) {}
  float* take(int64_t floats) {
    float* out = at_;
    at_ += round_up(floats, kAlign);
    return out;
  }

 private:
  float* at_;
};

/// All columns of b, packed.
void pack_all(const kernels::KernelTable& table, const Factor& b, float* out) {
  for (int64_t col = 0; col < b.cols(); col += table.nr) {
    pack_factor_panel(table, b, col, out);
    out += table.nr * b.rows();
  }
}

/// One head of one sequence, and the multiplication on this thread's scratch.
class Head {
 public:
  Head(const kernels::KernelTable& table, const TrainAttention& a, int64_t sequence, int64_t head,
       Pieces& pieces)
      : table_(table),
        a_(a),
        sizes(table, a.cu_seqlens[sequence + 1] - a.cu_seqlens[sequence], a.q.cols / a.heads),
        first(a.cu_seqlens[sequence]),
        head_(head),
        scale(1.0f / std::sqrt(static_cast<float>(sizes.d))),
        gemm_(pieces.take(sizes.gemm)),
        zeros_(pieces.take(sizes.zeros)) {
    std::fill_n(zeros_, sizes.zeros, 0.0f);
  }

  /// This head's part of a matrix [tokens, heads * d].
  template <class M>
  M part(M m) const {
    return m.row_range(first, first + sizes.n).col_range(head_ * sizes.d, (head_ + 1) * sizes.d);
  }

  /// c (+)= a b, b packed.
  void multiply(ConstMat a, const float* b, bool accumulate, Mat c) const {
    kernels::GemmArgs args{};
    args.a = a.data;
    args.lda = a.stride;
    args.rows = a.rows;
    args.k = a.cols;
    args.packed = reinterpret_cast<const std::byte*>(b);
    args.dtype = DType::kF32;
    args.bias = zeros_;
    args.cols = c.cols;
    args.panel_end = (c.cols + table_.nr - 1) / table_.nr;
    args.activation = Activation::kNone;
    args.c = c.data;
    args.ldc = c.stride;
    args.accumulate = accumulate;
    table_.gemm(args, gemm_);
  }

  /// softmax(scale q k^T) of the queries [begin, begin + p.rows).
  void probabilities(const float* keys, int64_t begin, Mat p) const {
    multiply(part(a_.q).row_range(begin, begin + p.rows), keys, false, p);
    for (int64_t r = 0; r < p.rows; ++r) table_.softmax(p.row(r), sizes.n, scale);
  }
  void drop(ConstMat p, int64_t begin, Mat dropped) const {
    const DropoutMask mask(a_.dropout);
    for (int64_t r = 0; r < p.rows; ++r) {
      mask.apply(a_.noise_rows[first + begin + r], static_cast<uint32_t>(head_), p.row(r), sizes.n,
                 dropped.row(r));
    }
  }

 private:
  const kernels::KernelTable& table_;
  const TrainAttention& a_;

 public:
  const Sizes sizes;
  const int64_t first;  ///< token of the sequence

 private:
  const int64_t head_;

 public:
  const float scale;

 private:
  float* gemm_;
  float* zeros_;
};

}  // namespace

size_t train_attention_floats(const kernels::KernelTable& table, int64_t longest,
                              int64_t head_dim) {
  const Sizes s(table, longest, head_dim);
  const int64_t matrices = s.gemm + s.zeros + 2 * s.over_tokens + s.over_head * s.n +
                           2 * s.over_head * s.block + 3 * s.block * s.stride +
                           s.n * round_up(s.block, kAlign);
  return static_cast<size_t>(matrices + 12 * kAlign);
}

void train_attention(const kernels::KernelTable& table, const TrainAttention& a, int64_t sequence,
                     int64_t head, Mat out, float* scratch) {
  Pieces pieces(scratch);
  const Head h(table, a, sequence, head, pieces);
  const Sizes& s = h.sizes;
  float* keys = pieces.take(s.over_tokens);
  float* values = pieces.take(s.over_head * s.n);
  float* block = pieces.take(s.block * s.stride);
  pack_all(table, {h.part(a.k), true}, keys);
  pack_all(table, {h.part(a.v), false}, values);
  for (int64_t begin = 0; begin < s.n; begin += s.block) {
    const int64_t rows = std::min(s.block, s.n - begin);
    const Mat p(block, rows, s.n, s.stride);
    h.probabilities(keys, begin, p);
    if (a.dropout) h.drop(p, begin, p);
    h.multiply(p, values, false, h.part(out).row_range(begin, begin + rows));
  }
}

void train_attention_backward(const kernels::KernelTable& table, const TrainAttention& a,
                              int64_t sequence, int64_t head, ConstMat out, ConstMat d_out, Mat d_q,
                              Mat d_k, Mat d_v, float* scratch) {
  Pieces pieces(scratch);
  const Head h(table, a, sequence, head, pieces);
  const Sizes& s = h.sizes;
  float* keys = pieces.take(s.over_tokens);          // k^T, for the scores
  float* values = pieces.take(s.over_tokens);        // v^T, for what reaches the probabilities
  float* key_rows = pieces.take(s.over_head * s.n);  // k, for d_q
  float* queries = pieces.take(s.over_head * s.block);
  float* d_outs = pieces.take(s.over_head * s.block);
  float* block = pieces.take(s.block * s.stride);
  float* dropped_block = pieces.take(s.block * s.stride);
  float* d_block = pieces.take(s.block * s.stride);
  float* turned = pieces.take(s.n * round_up(s.block, kAlign));
  pack_all(table, {h.part(a.k), true}, keys);
  pack_all(table, {h.part(a.v), true}, values);
  pack_all(table, {h.part(a.k), false}, key_rows);
  for (int64_t begin = 0; begin < s.n; begin += s.block) {
    const int64_t rows = std::min(s.block, s.n - begin), end = begin + rows;
    const Mat p(block, rows, s.n, s.stride), d_p(d_block, rows, s.n, s.stride);
    const Mat dropped(a.dropout ? dropped_block : block, rows, s.n, s.stride);
    const ConstMat d_o = h.part(d_out).row_range(begin, end);
    h.probabilities(keys, begin, p);
    if (a.dropout) h.drop(p, begin, dropped);
    h.multiply(d_o, values, false, d_p);
    // P dP = dropped d_dropped, for what was kept has its scale in it, and the rest is zero; summed
    // over the keys that is out d_out.
    for (int64_t r = 0; r < rows; ++r) {
      const float through = table.dot(h.part(out).row(begin + r), d_o.row(r), s.d);
      table.softmax_backward(p.row(r), dropped.row(r), through, h.scale, s.n, d_p.row(r));
    }
    h.multiply(d_p, key_rows, false, h.part(d_q).row_range(begin, end));
    const Mat over_keys(turned, s.n, rows, round_up(rows, kAlign));
    pack_all(table, {h.part(a.q).row_range(begin, end), false}, queries);
    transpose(d_p, over_keys);
    h.multiply(over_keys, queries, begin > 0, h.part(d_k));
    pack_all(table, {d_o, false}, d_outs);
    transpose(dropped, over_keys);
    h.multiply(over_keys, d_outs, begin > 0, h.part(d_v));
  }
}

}  // namespace tamis
