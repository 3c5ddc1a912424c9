#include "backend/ref/ref_train_ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/ref/ref_activation.h"
#include "device/dropout_mask.h"

namespace tamis {
namespace {

double at(const Factor& f, int64_t r, int64_t c) {
  return f.transposed ? f.mat.row(c)[r] : f.mat.row(r)[c];
}

/// f'(x); what f is, ref_activate says.
double derivative(Activation f, double x) {
  switch (f) {
    case Activation::kGelu:
      return 0.5 * std::erfc(-x / std::sqrt(2.0)) +
             x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * 3.14159265358979323846);
    case Activation::kTanh:
      return 1 - std::tanh(x) * std::tanh(x);
    case Activation::kRelu:
      return x > 0 ? 1 : 0;
    case Activation::kNone:
      break;
  }
  return 1;
}

/// The probabilities of one query of one head, before and after dropout.
struct Attended {
  Attended(const TrainAttention& a, int64_t sequence, int64_t head, int64_t query)
      : first(a.cu_seqlens[sequence]), keys(a.cu_seqlens[sequence + 1] - first) {
    const int64_t d = a.q.cols / a.heads;
    const double scale = 1 / std::sqrt(static_cast<double>(d));
    const float* q = a.q.row(query) + head * d;
    std::vector<double> scores(static_cast<size_t>(keys));
    for (int64_t j = 0; j < keys; ++j) {
      const float* k = a.k.row(first + j) + head * d;
      for (int64_t i = 0; i < d; ++i) scores[j] += static_cast<double>(q[i]) * k[i];
    }
    const double most = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& s : scores) sum += s = std::exp((s - most) * scale);
    for (double s : scores) plain.push_back(static_cast<float>(s / sum));
    dropped = plain;
    if (a.dropout) {
      DropoutMask(a.dropout).apply(a.noise_rows[query], static_cast<uint32_t>(head), plain.data(),
                                   keys, dropped.data());
    }
  }
  int64_t first, keys;
  std::vector<float> plain, dropped;
};

/// Calls f(sequence, head, query) for each.
template <class F>
void for_each_query(const TrainAttention& a, const F& f) {
  for (int64_t s = 0; s < a.sequences; ++s) {
    for (int64_t h = 0; h < a.heads; ++h) {
      for (int64_t t = a.cu_seqlens[s]; t < a.cu_seqlens[s + 1]; ++t) f(s, h, t);
    }
  }
}

template <class F>
void for_each_element(const Rows& rows, const F& f) {
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t row = rows.ids != nullptr ? rows.ids[r] : r;
    for (int64_t i = 0; i < rows.width; ++i) f(row * rows.width + i);
  }
}

class RefTrainOps : public TrainOps {
 public:
  size_t scratch_bytes(const TrainShape&) const override { return 0; }
  void set_scratch(std::span<std::byte>) override {}

  void product(const Factor& a, const Factor& b, const float* bias, bool accumulate,
               Mat y) override {
    for (int64_t r = 0; r < y.rows; ++r) {
      for (int64_t c = 0; c < y.cols; ++c) {
        double sum = accumulate ? y.row(r)[c] : bias != nullptr ? bias[c] : 0;
        for (int64_t i = 0; i < a.cols(); ++i) sum += at(a, r, i) * at(b, i, c);
        y.row(r)[c] = static_cast<float>(sum);
      }
    }
  }

  void add_columns(ConstMat x, float* sums) override {
    for (int64_t c = 0; c < x.cols; ++c) {
      double sum = sums[c];
      for (int64_t r = 0; r < x.rows; ++r) sum += x.row(r)[c];
      sums[c] = static_cast<float>(sum);
    }
  }

  void embed(const EmbeddingWeights& w, const BatchView& batch, Mat out) override {
    std::vector<float> row(static_cast<size_t>(w.hidden));
    for (int64_t t = 0; t < batch.tokens; ++t) {
      convert_to_f32(w.word_dtype,
                     w.words + static_cast<size_t>(batch.ids[t] * w.hidden) * size_of(w.word_dtype),
                     row.data(), row.size());
      for (int64_t i = 0; i < w.hidden; ++i) {
        out.row(t)[i] = static_cast<float>(static_cast<double>(row[i]) +
                                           w.positions[batch.positions[t] * w.hidden + i] +
                                           w.types[batch.type_ids[t] * w.hidden + i]);
      }
    }
  }

  void embed_backward(ConstMat d_out, const BatchView& batch, float* d_words, float* d_positions,
                      float* d_types) override {
    const auto add = [&](float* table, int64_t row, int64_t t) {
      if (table == nullptr) return;
      for (int64_t i = 0; i < d_out.cols; ++i) table[row * d_out.cols + i] += d_out.row(t)[i];
    };
    for (int64_t t = 0; t < batch.tokens; ++t) {
      add(d_words, batch.ids[t], t);
      add(d_positions, batch.positions[t], t);
      add(d_types, batch.type_ids[t], t);
    }
  }

  void layer_norm(ConstMat x, const LayerNormWeights& w, Mat y, float* stats) override {
    const auto n = static_cast<double>(x.cols);
    for (int64_t r = 0; r < x.rows; ++r) {
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < x.cols; ++i) mean += x.row(r)[i] / n;
      for (int64_t i = 0; i < x.cols; ++i) {
        variance += (x.row(r)[i] - mean) * (x.row(r)[i] - mean) / n;
      }
      const double scale = 1 / std::sqrt(variance + static_cast<double>(w.eps));
      stats[2 * r] = static_cast<float>(mean);
      stats[2 * r + 1] = static_cast<float>(scale);
      for (int64_t i = 0; i < x.cols; ++i) {
        y.row(r)[i] = static_cast<float>((x.row(r)[i] - mean) * scale * w.gamma[i] + w.beta[i]);
      }
    }
  }

  void layer_norm_backward(ConstMat d_y, ConstMat x, const float* stats, const float* gamma,
                           Mat d_x, float* d_gamma, float* d_beta) override {
    const int64_t n = x.cols;
    std::vector<double> sum_gamma(static_cast<size_t>(n)), sum_beta(sum_gamma);
    for (int64_t r = 0; r < x.rows; ++r) {
      const double mean = stats[2 * r], scale = stats[2 * r + 1];
      double sum = 0, sum_hat = 0;  // of g = gamma d_y, and of g x^
      for (int64_t i = 0; i < n; ++i) {
        const double hat = (x.row(r)[i] - mean) * scale;
        const double g = static_cast<double>(gamma[i]) * d_y.row(r)[i];
        sum += g;
        sum_hat += g * hat;
        sum_gamma[i] += d_y.row(r)[i] * hat;
        sum_beta[i] += d_y.row(r)[i];
      }
      for (int64_t i = 0; i < n; ++i) {
        const double hat = (x.row(r)[i] - mean) * scale;
        const double g = static_cast<double>(gamma[i]) * d_y.row(r)[i];
        d_x.row(r)[i] = static_cast<float>(
            scale * (g - sum / static_cast<double>(n) - hat * sum_hat / static_cast<double>(n)));
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      if (d_gamma != nullptr) d_gamma[i] = static_cast<float>(d_gamma[i] + sum_gamma[i]);
      if (d_beta != nullptr) d_beta[i] = static_cast<float>(d_beta[i] + sum_beta[i]);
    }
  }

  void activate(Activation f, ConstMat x, Mat y) override {
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t i = 0; i < x.cols; ++i) {
        y.row(r)[i] = static_cast<float>(ref_activate(f, x.row(r)[i]));
      }
    }
  }

  void activate_backward(Activation f, ConstMat x, ConstMat d_y, Mat d_x) override {
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t i = 0; i < x.cols; ++i) {
        d_x.row(r)[i] = static_cast<float>(derivative(f, x.row(r)[i]) * d_y.row(r)[i]);
      }
    }
  }

  void dropout(ConstMat x, ConstMat residual, const Dropout& dropout, const uint32_t* noise_rows,
               Mat y) override {
    const DropoutMask mask(dropout);
    std::vector<float> row(static_cast<size_t>(x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      if (dropout) {
        mask.apply(noise_rows[r], 0, x.row(r), x.cols, row.data());
      } else {
        std::copy_n(x.row(r), x.cols, row.data());
      }
      for (int64_t i = 0; i < x.cols; ++i) {
        y.row(r)[i] = residual.data != nullptr ? row[i] + residual.row(r)[i] : row[i];
      }
    }
  }

  void scale(Mat x, float factor) override {
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t i = 0; i < x.cols; ++i) x.row(r)[i] *= factor;
    }
  }

  void attention(const TrainAttention& a, Mat out) override {
    const int64_t d = a.q.cols / a.heads;
    for_each_query(a, [&](int64_t s, int64_t h, int64_t t) {
      const Attended p(a, s, h, t);
      for (int64_t i = h * d; i < (h + 1) * d; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < p.keys; ++j) {
          sum += static_cast<double>(p.dropped[j]) * a.v.row(p.first + j)[i];
        }
        out.row(t)[i] = static_cast<float>(sum);
      }
    });
  }

  void attention_backward(const TrainAttention& a, ConstMat out, ConstMat d_out, Mat d_q, Mat d_k,
                          Mat d_v) override {
    const int64_t d = a.q.cols / a.heads, width = a.q.cols, tokens = a.q.rows;
    const double scale = 1 / std::sqrt(static_cast<double>(d));
    // d_k and d_v gather from all queries: sums in double.
    std::vector<double> sum_k(static_cast<size_t>(tokens * width)), sum_v(sum_k);
    for_each_query(a, [&](int64_t s, int64_t h, int64_t t) {
      const Attended p(a, s, h, t);
      double through = 0;  // sum over keys of P dP
      for (int64_t i = h * d; i < (h + 1) * d; ++i) {
        through += static_cast<double>(out.row(t)[i]) * d_out.row(t)[i];
      }
      std::vector<double> sum_q(static_cast<size_t>(d));
      for (int64_t j = 0; j < p.keys; ++j) {
        const int64_t key = p.first + j;
        double d_dropped = 0;
        for (int64_t i = h * d; i < (h + 1) * d; ++i) {
          d_dropped += static_cast<double>(d_out.row(t)[i]) * a.v.row(key)[i];
          sum_v[key * width + i] += static_cast<double>(p.dropped[j]) * d_out.row(t)[i];
        }
        // P dP = dropped d_dropped: what was dropped gives nothing, what was kept its scale.
        const double d_score =
            (static_cast<double>(p.dropped[j]) * d_dropped - p.plain[j] * through) * scale;
        for (int64_t i = 0; i < d; ++i) {
          sum_q[i] += d_score * a.k.row(key)[h * d + i];
          sum_k[key * width + h * d + i] += d_score * a.q.row(t)[h * d + i];
        }
      }
      for (int64_t i = 0; i < d; ++i) d_q.row(t)[h * d + i] = static_cast<float>(sum_q[i]);
    });
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        d_k.row(t)[i] = static_cast<float>(sum_k[t * width + i]);
        d_v.row(t)[i] = static_cast<float>(sum_v[t * width + i]);
      }
    }
  }

  void put_rows(ConstMat x, const int32_t* rows, Mat y) override {
    for (int64_t r = 0; r < y.rows; ++r) std::fill_n(y.row(r), y.cols, 0.0f);
    for (int64_t i = 0; i < x.rows; ++i) std::copy_n(x.row(i), x.cols, y.row(rows[i]));
  }

  void mean_rows_backward(ConstMat d_mean, const int32_t* cu_seqlens, Mat d_x) override {
    for (int64_t s = 0; s < d_mean.rows; ++s) {
      const double n = cu_seqlens[s + 1] - cu_seqlens[s];
      for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
        for (int64_t i = 0; i < d_x.cols; ++i) {
          d_x.row(t)[i] = static_cast<float>(d_mean.row(s)[i] / n);
        }
      }
    }
  }

  void zero(float* x, const Rows& rows) override {
    for_each_element(rows, [&](int64_t i) { x[i] = 0; });
  }

  double sum_of_squares(const float* x, const Rows& rows) override {
    double sum = 0;
    for_each_element(rows, [&](int64_t i) { sum += static_cast<double>(x[i]) * x[i]; });
    return sum;
  }

  void adamw(const AdamW& o, const Rows& rows, const float* gradient, float* first, float* second,
             float* weight) override {
    const auto step = static_cast<double>(o.step);
    const double beta1 = o.beta1, beta2 = o.beta2, rate = o.learning_rate;
    const double correction1 = 1 - std::pow(beta1, step), correction2 = 1 - std::pow(beta2, step);
    for_each_element(rows, [&](int64_t i) {
      const double g = static_cast<double>(gradient[i]) * o.gradient_scale;
      const double m = beta1 * first[i] + (1 - beta1) * g;
      const double v = beta2 * second[i] + (1 - beta2) * g * g;
      first[i] = static_cast<float>(m);
      second[i] = static_cast<float>(v);
      const double kept = weight[i] * (1 - rate * static_cast<double>(o.weight_decay));
      weight[i] = static_cast<float>(
          kept -
          rate * (m / correction1) / (std::sqrt(v / correction2) + static_cast<double>(o.epsilon)));
    });
  }
};

}  // namespace

std::unique_ptr<TrainOps> make_ref_train_ops() { return std::make_unique<RefTrainOps>(); }

}  // namespace tamis
