#include "backend/cpu/cpu_train_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/fail.h"
#include "device/dropout_mask.h"

namespace tamis {
namespace {

constexpr int64_t kAlign = 16;  // floats: 64 bytes
// Rows that one partial sum takes in: long enough that adding the partial sums costs nothing, short
// enough that an f32 sum keeps its digits.
constexpr int64_t kSumRows = 64;
constexpr int64_t kPiece = 1 << 14;  // elements of a task that goes over an array

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// How a product lies in the scratch: packed b, the bias, and for each thread its rows of a
/// transposed a and what the GEMM needs.
struct ProductLayout {
  ProductLayout(const kernels::KernelTable& table, int64_t rows, int64_t k, int64_t cols, bool turn)
      : panels((cols + table.nr - 1) / table.nr),
        packed(round_up(panels * table.nr * k, kAlign)),
        bias(round_up(panels * table.nr, kAlign)),
        chunk(std::min(rows, 8 * table.mr)),
        turned(turn ? round_up(chunk * round_up(k, kAlign), kAlign) : 0),
        thread(turned + round_up(static_cast<int64_t>(table.gemm_scratch(chunk, k)), kAlign)) {}
  int64_t floats(int threads) const { return packed + bias + threads * thread; }
  int64_t panels, packed, bias;
  int64_t chunk;  ///< rows of a task
  int64_t turned, thread;
};

class CpuTrainOps : public TrainOps {
 public:
  CpuTrainOps(const kernels::KernelTable& table, ThreadPool& pool) : table_(table), pool_(pool) {}

  size_t scratch_bytes(const TrainShape& s) const override {
    const int threads = pool_.threads();
    // The widest forward or d_x product, and the widest product over tokens, d_w.
    int64_t floats = ProductLayout(table_, s.tokens, s.features, s.features, false).floats(threads);
    floats = std::max(
        floats, ProductLayout(table_, s.features, s.tokens, s.features, true).floats(threads));
    floats = std::max(floats, threads * static_cast<int64_t>(
                                            train_attention_floats(table_, s.longest, s.head_dim)));
    floats = std::max(floats, 2 * round_up(s.features, kAlign) * (s.tokens / kSumRows + 1));
    return static_cast<size_t>(floats) * sizeof(float);
  }
  void set_scratch(std::span<std::byte> scratch) override {
    scratch_ = {reinterpret_cast<float*>(scratch.data()), scratch.size() / sizeof(float)};
  }

  void product(const Factor& a, const Factor& b, const float* bias, bool accumulate,
               Mat y) override {
    const ProductLayout layout(table_, y.rows, a.cols(), y.cols, a.transposed);
    float* packed = scratch(layout.floats(pool_.threads()));
    float* padded_bias = packed + layout.packed;
    std::fill_n(padded_bias, layout.bias, 0.0f);
    if (bias != nullptr) std::copy_n(bias, y.cols, padded_bias);
    const int64_t k = a.cols();
    for_each_piece(pool_, layout.panels, 1, [&](int64_t p, int64_t, int) {
      pack_factor_panel(table_, b, p * table_.nr, packed + p * table_.nr * k);
    });
    // Few rows: the columns are shared out as well.
    const int64_t chunks = (y.rows + layout.chunk - 1) / layout.chunk;
    const int64_t wanted = (4 * pool_.threads() + chunks - 1) / chunks;
    const int64_t step = std::max<int64_t>(1, (layout.panels + wanted - 1) / wanted);
    const int64_t parts = (layout.panels + step - 1) / step;
    for_each_piece(pool_, chunks * parts, 1, [&](int64_t i, int64_t, int thread) {
      const int64_t begin = i / parts * layout.chunk;
      const int64_t rows = std::min(layout.chunk, y.rows - begin);
      float* own = packed + layout.packed + layout.bias + thread * layout.thread;
      kernels::GemmArgs args{};
      if (a.transposed) {
        const Mat turned(own, rows, k, round_up(k, kAlign));
        transpose(a.mat.col_range(begin, begin + rows), turned);
        args.a = turned.data;
        args.lda = turned.stride;
      } else {
        args.a = a.mat.row(begin);
        args.lda = a.mat.stride;
      }
      args.rows = rows;
      args.k = k;
      args.packed = reinterpret_cast<const std::byte*>(packed);
      args.dtype = DType::kF32;
      args.bias = padded_bias;
      args.cols = y.cols;
      args.panel_begin = i % parts * step;
      args.panel_end = std::min(layout.panels, args.panel_begin + step);
      args.activation = Activation::kNone;
      args.c = y.row(begin);
      args.ldc = y.stride;
      args.accumulate = accumulate;
      table_.gemm(args, own + layout.turned);
    });
  }

  void add_columns(ConstMat x, float* sums) override {
    for_each_piece(pool_, x.cols, 256, [&](int64_t begin, int64_t end, int) {
      const int64_t n = end - begin;
      float part[256];
      for (int64_t r = 0; r < x.rows;) {
        std::fill_n(part, n, 0.0f);
        for (const int64_t stop = std::min(x.rows, r + kSumRows); r < stop; ++r) {
          table_.add(x.row(r) + begin, n, part);
        }
        table_.add(part, n, sums + begin);
      }
    });
  }

  void embed(const EmbeddingWeights& w, const BatchView& batch, Mat out) override {
    const int64_t row_bytes = w.hidden * static_cast<int64_t>(size_of(w.word_dtype));
    for_each_row(out, [&](int64_t t) {
      table_.to_f32(w.word_dtype, w.words + batch.ids[t] * row_bytes, w.hidden, out.row(t));
      table_.add(w.positions + batch.positions[t] * w.hidden, w.hidden, out.row(t));
      table_.add(w.types + batch.type_ids[t] * w.hidden, w.hidden, out.row(t));
    });
  }

  void embed_backward(ConstMat d_out, const BatchView& batch, float* d_words, float* d_positions,
                      float* d_types) override {
    // Threads share the columns, so that each sum has the order of the tokens.
    for_each_piece(pool_, d_out.cols, 128, [&](int64_t begin, int64_t end, int) {
      const auto add = [&](float* table, int32_t row, int64_t t) {
        if (table == nullptr) return;
        table_.add(d_out.row(t) + begin, end - begin, table + row * d_out.cols + begin);
      };
      for (int64_t t = 0; t < batch.tokens; ++t) {
        add(d_words, batch.ids[t], t);
        add(d_positions, batch.positions[t], t);
        add(d_types, batch.type_ids[t], t);
      }
    });
  }

  void layer_norm(ConstMat x, const LayerNormWeights& w, Mat y, float* stats) override {
    for_each_row(y, [&](int64_t r) {
      table_.layer_norm(x.row(r), nullptr, w.gamma, w.beta, w.eps, x.cols, y.row(r), stats + 2 * r);
    });
  }

  void layer_norm_backward(ConstMat d_y, ConstMat x, const float* stats, const float* gamma,
                           Mat d_x, float* d_gamma, float* d_beta) override {
    const int64_t stride = round_up(x.cols, kAlign);
    const int64_t parts = (x.rows + kSumRows - 1) / kSumRows;
    float* partial = scratch(2 * stride * parts);
    for_each_piece(pool_, x.rows, kSumRows, [&](int64_t begin, int64_t end, int) {
      float* to_gamma = partial + begin / kSumRows * 2 * stride;
      std::fill_n(to_gamma, 2 * stride, 0.0f);
      for (int64_t r = begin; r < end; ++r) {
        table_.layer_norm_backward(d_y.row(r), x.row(r), stats[2 * r], stats[2 * r + 1], gamma,
                                   x.cols, d_x.row(r), to_gamma, to_gamma + stride);
      }
    });
    for (int64_t p = 0; p < parts; ++p) {
      if (d_gamma != nullptr) table_.add(partial + p * 2 * stride, x.cols, d_gamma);
      if (d_beta != nullptr) table_.add(partial + p * 2 * stride + stride, x.cols, d_beta);
    }
  }

  void activate(Activation f, ConstMat x, Mat y) override {
    for_each_row(y, [&](int64_t r) { table_.activate_row(f, x.row(r), x.cols, y.row(r)); });
  }
  void activate_backward(Activation f, ConstMat x, ConstMat d_y, Mat d_x) override {
    for_each_row(d_x, [&](int64_t r) {
      table_.activate_backward(f, x.row(r), d_y.row(r), x.cols, d_x.row(r));
    });
  }

  void dropout(ConstMat x, ConstMat residual, const Dropout& dropout, const uint32_t* noise_rows,
               Mat y) override {
    const DropoutMask mask(dropout);
    for_each_row(y, [&](int64_t r) {
      // A sum has the same bits in any order of its two terms, and y may be the residual.
      if (residual.data == nullptr) {
        if (dropout) {
          mask.apply(noise_rows[r], 0, x.row(r), x.cols, y.row(r));
        } else if (y.row(r) != x.row(r)) {
          std::copy_n(x.row(r), x.cols, y.row(r));
        }
        return;
      }
      const float* kept = x.row(r);
      std::vector<float> row;
      if (dropout) {
        row.resize(static_cast<size_t>(x.cols));
        mask.apply(noise_rows[r], 0, x.row(r), x.cols, row.data());
        kept = row.data();
      }
      if (y.row(r) == x.row(r) && !dropout) {
        table_.add(residual.row(r), x.cols, y.row(r));
      } else {
        if (y.row(r) != residual.row(r)) std::copy_n(residual.row(r), x.cols, y.row(r));
        table_.add(kept, x.cols, y.row(r));
      }
    });
  }

  void scale(Mat x, float factor) override {
    for_each_row(x, [&](int64_t r) { table_.scale(factor, x.cols, x.row(r)); });
  }

  void attention(const TrainAttention& a, Mat out) override {
    for_each_head(a, [&](int64_t sequence, int64_t head, float* own) {
      train_attention(table_, a, sequence, head, out, own);
    });
  }
  void attention_backward(const TrainAttention& a, ConstMat out, ConstMat d_out, Mat d_q, Mat d_k,
                          Mat d_v) override {
    for_each_head(a, [&](int64_t sequence, int64_t head, float* own) {
      train_attention_backward(table_, a, sequence, head, out, d_out, d_q, d_k, d_v, own);
    });
  }

  void put_rows(ConstMat x, const int32_t* rows, Mat y) override {
    for_each_row(y, [&](int64_t r) { std::fill_n(y.row(r), y.cols, 0.0f); });
    for (int64_t i = 0; i < x.rows; ++i) std::copy_n(x.row(i), x.cols, y.row(rows[i]));
  }
  void mean_rows_backward(ConstMat d_mean, const int32_t* cu_seqlens, Mat d_x) override {
    for_each_piece(pool_, d_mean.rows, 1, [&](int64_t s, int64_t, int) {
      const float part = 1.0f / static_cast<float>(cu_seqlens[s + 1] - cu_seqlens[s]);
      for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
        std::copy_n(d_mean.row(s), d_x.cols, d_x.row(t));
        table_.scale(part, d_x.cols, d_x.row(t));
      }
    });
  }

  void zero(float* x, const Rows& rows) override {
    for_each_run(rows, [&](int64_t begin, int64_t n, size_t) { std::fill_n(x + begin, n, 0.0f); });
  }
  double sum_of_squares(const float* x, const Rows& rows) override {
    std::vector<double> parts(runs(rows));
    for_each_run(rows, [&](int64_t begin, int64_t n, size_t piece) {
      for (int64_t i = begin; i < begin + n; i += 1024) {
        parts[piece] +=
            static_cast<double>(table_.dot(x + i, x + i, std::min<int64_t>(1024, begin + n - i)));
      }
    });
    double sum = 0;
    for (double part : parts) sum += part;
    return sum;
  }
  void adamw(const AdamW& o, const Rows& rows, const float* gradient, float* first, float* second,
             float* weight) override {
    const auto step = static_cast<double>(o.step);
    const double rate = o.learning_rate;
    kernels::AdamWArgs all;
    all.gradient_scale = o.gradient_scale;
    all.beta1 = o.beta1;
    all.beta2 = o.beta2;
    all.epsilon = o.epsilon;
    all.step_size = static_cast<float>(rate / (1 - std::pow(static_cast<double>(o.beta1), step)));
    all.second_correction =
        static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(o.beta2), step)));
    all.kept_weight = static_cast<float>(1 - rate * static_cast<double>(o.weight_decay));
    for_each_run(rows, [&](int64_t begin, int64_t n, size_t) {
      kernels::AdamWArgs args = all;
      args.gradient = gradient + begin;
      args.first = first + begin;
      args.second = second + begin;
      args.weight = weight + begin;
      table_.adamw(args, n);
    });
  }

 private:
  float* scratch(int64_t floats) const {
    if (static_cast<size_t>(floats) > scratch_.size()) {
      fail(ErrorCode::kInternal, "cpu: an op of training needs {} floats of scratch, and has {}",
           floats, scratch_.size());
    }
    return scratch_.data();
  }
  void for_each_row(ConstMat m, const std::function<void(int64_t)>& task) {
    const int64_t step = std::max<int64_t>(1, kPiece / std::max<int64_t>(m.cols, 1));
    for_each_piece(pool_, m.rows, step, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) task(r);
    });
  }
  /// Pieces of about kPiece elements: of whole rows where they are numbered.
  static int64_t rows_of_piece(const Rows& rows) {
    return std::max<int64_t>(1, kPiece / std::max<int64_t>(rows.width, 1));
  }
  static size_t runs(const Rows& rows) {
    const int64_t step = rows.ids != nullptr ? rows_of_piece(rows) : kPiece;
    const int64_t all = rows.ids != nullptr ? rows.count : rows.count * rows.width;
    return static_cast<size_t>((all + step - 1) / step);
  }
  /// Calls task(first element, elements, piece) for what lies end to end; a piece is one thread's.
  void for_each_run(const Rows& rows, const std::function<void(int64_t, int64_t, size_t)>& task) {
    if (rows.ids == nullptr) {
      return for_each_piece(pool_, rows.count * rows.width, kPiece,
                            [&](int64_t begin, int64_t end, int) {
                              task(begin, end - begin, static_cast<size_t>(begin / kPiece));
                            });
    }
    const int64_t step = rows_of_piece(rows);
    for_each_piece(pool_, rows.count, step, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        task(rows.ids[r] * rows.width, rows.width, static_cast<size_t>(begin / step));
      }
    });
  }
  void for_each_head(const TrainAttention& a,
                     const std::function<void(int64_t, int64_t, float*)>& task) {
    int64_t longest = 0;
    for (int64_t s = 0; s < a.sequences; ++s) {
      longest = std::max<int64_t>(longest, a.cu_seqlens[s + 1] - a.cu_seqlens[s]);
    }
    const auto each =
        static_cast<int64_t>(train_attention_floats(table_, longest, a.q.cols / a.heads));
    float* all = scratch(each * pool_.threads());
    for_each_piece(pool_, a.sequences * a.heads, 1, [&](int64_t i, int64_t, int thread) {
      task(i / a.heads, i % a.heads, all + thread * each);
    });
  }

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  std::span<float> scratch_;
};

}  // namespace

void for_each_piece(ThreadPool& pool, int64_t count, int64_t step,
                    const std::function<void(int64_t, int64_t, int)>& task) {
  pool.parallel_for(static_cast<size_t>((count + step - 1) / step), [&](size_t i, int thread) {
    const int64_t begin = static_cast<int64_t>(i) * step;
    task(begin, std::min(count, begin + step), thread);
  });
}

void pack_factor_panel(const kernels::KernelTable& table, const Factor& b, int64_t col,
                       float* panel) {
  const int64_t nr = table.nr, cols = std::min(nr, b.cols() - col);
  if (b.transposed) {
    kernels::StoredRow rows[64];
    for (int64_t r = 0; r < nr; ++r) {
      rows[r] = {r < cols ? reinterpret_cast<const std::byte*>(b.mat.row(col + r)) : nullptr,
                 DType::kF32};
    }
    // What is not finite is found in the loss, which it reaches.
    table.pack_panel(rows, b.rows(), DType::kF32, reinterpret_cast<std::byte*>(panel));
    return;
  }
  for (int64_t k = 0; k < b.rows(); ++k, panel += nr) {
    std::copy_n(b.mat.row(k) + col, cols, panel);
    std::fill(panel + cols, panel + nr, 0.0f);
  }
}

void transpose(ConstMat x, Mat y) {
  constexpr int64_t kBlock = 16;  // a cache line of either side
  for (int64_t r0 = 0; r0 < x.rows; r0 += kBlock) {
    const int64_t r1 = std::min(x.rows, r0 + kBlock);
    for (int64_t c0 = 0; c0 < x.cols; c0 += kBlock) {
      const int64_t c1 = std::min(x.cols, c0 + kBlock);
      for (int64_t c = c0; c < c1; ++c) {
        for (int64_t r = r0; r < r1; ++r) y.row(c)[r] = x.row(r)[c];
      }
    }
  }
}

std::unique_ptr<TrainOps> make_cpu_train_ops(const kernels::KernelTable& table, ThreadPool& pool) {
  return std::make_unique<CpuTrainOps>(table, pool);
}

}  // namespace tamis
