#include "backend/ref/ref_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fail.h"

namespace tamis {
namespace {

class RefLinear : public PackedLinear {
 public:
  RefLinear(int64_t in, int64_t out, std::vector<float> weight_values,
            std::vector<float> bias_values)
      : PackedLinear(in, out, (weight_values.size() + bias_values.size()) * sizeof(float)),
        weight(std::move(weight_values)),
        bias(std::move(bias_values)) {}
  std::vector<float> weight;  // [out, in]
  std::vector<float> bias;    // [out]
};

void append_f32(const TensorView& tensor, std::vector<float>& out) {
  require_finite(tensor);
  const size_t n = static_cast<size_t>(element_count(tensor.shape));
  out.resize(out.size() + n);
  convert_to_f32(tensor.dtype, tensor.bytes.data(), out.data() + out.size() - n, n);
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kNone:
      break;
  }
  return x;
}

void normalize(const std::vector<double>& v, const LayerNormWeights& w, float* y) {
  const double n = static_cast<double>(v.size());
  double mean = 0, variance = 0;
  for (double x : v) mean += x;
  mean /= n;
  for (double x : v) variance += (x - mean) * (x - mean);
  variance /= n;
  const double scale = 1.0 / std::sqrt(variance + static_cast<double>(w.eps));
  for (size_t i = 0; i < v.size(); ++i) {
    y[i] = static_cast<float>((v[i] - mean) * scale * w.gamma[i] + w.beta[i]);
  }
}

class RefOps : public Ops {
 public:
  std::unique_ptr<PackedLinear> pack_linear(const LinearSource& source) override {
    std::vector<float> weight, bias;
    for (size_t i = 0; i < source.weights.size(); ++i) {
      append_f32(*source.weights[i], weight);
      if (source.biases[i] != nullptr) {
        append_f32(*source.biases[i], bias);
      } else {
        bias.resize(bias.size() + static_cast<size_t>(source.weights[i]->shape[0]), 0.0f);
      }
    }
    const int64_t in = source.weights[0]->shape[1];
    const int64_t out = static_cast<int64_t>(bias.size());
    return std::make_unique<RefLinear>(in, out, std::move(weight), std::move(bias));
  }

  size_t linear_bytes(int64_t in, int64_t out) const override {
    return static_cast<size_t>(out * (in + 1)) * sizeof(float);
  }

  void embed_layer_norm(const EmbeddingWeights& w, const BatchView& batch, Mat out) override {
    std::vector<double> v(static_cast<size_t>(w.hidden));
    std::vector<float> word(v.size());
    const int64_t row_bytes = w.hidden * static_cast<int64_t>(size_of(w.word_dtype));
    for (int64_t t = 0; t < batch.tokens; ++t) {
      convert_to_f32(w.word_dtype, w.words + batch.ids[t] * row_bytes, word.data(), word.size());
      const float* position = w.positions.data() + batch.positions[t] * w.hidden;
      const float* type = w.types.data() + batch.type_ids[t] * w.hidden;
      for (size_t i = 0; i < v.size(); ++i) v[i] = double{word[i]} + type[i] + position[i];
      normalize(v, w.norm, out.row(t));
    }
  }

  void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) override {
    const auto& w = static_cast<const RefLinear&>(weights);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t o = 0; o < w.out_features(); ++o) {
        const float* row = w.weight.data() + o * w.in_features();
        double sum = w.bias[static_cast<size_t>(o)];
        for (int64_t i = 0; i < w.in_features(); ++i) sum += double{x.row(r)[i]} * row[i];
        y.row(r)[o] = static_cast<float>(activate(activation, sum));
      }
    }
  }

  void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& w, Mat y) override {
    std::vector<double> v(static_cast<size_t>(x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      for (size_t i = 0; i < v.size(); ++i) v[i] = double{x.row(r)[i]} + residual.row(r)[i];
      normalize(v, w, y.row(r));
    }
  }

  void attention(const AttentionView& a, Mat out) override {
    for (int64_t s = 0; s < a.sequences; ++s) {
      for (int64_t query = a.cu_queries[s]; query < a.cu_queries[s + 1]; ++query) {
        for (int64_t head = 0; head < a.heads; ++head) attend(a, s, query, head, out);
      }
    }
  }

  void gather_rows(ConstMat x, std::span<const int32_t> rows, Mat y) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memmove(y.row(static_cast<int64_t>(i)), x.row(rows[i]),
                   static_cast<size_t>(x.cols) * sizeof(float));
    }
  }

  void mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) override {
    for (int64_t s = 0; s < y.rows; ++s) {
      for (int64_t c = 0; c < y.cols; ++c) {
        double sum = 0;
        for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) sum += x.row(t)[c];
        y.row(s)[c] = static_cast<float>(sum / (cu_seqlens[s + 1] - cu_seqlens[s]));
      }
    }
  }

  void l2_normalize(Mat y) override {
    for (int64_t r = 0; r < y.rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < y.cols; ++c) sum += double{y.row(r)[c]} * y.row(r)[c];
      const double scale = 1.0 / std::max(std::sqrt(sum), 1e-12);
      for (int64_t c = 0; c < y.cols; ++c) y.row(r)[c] = static_cast<float>(y.row(r)[c] * scale);
    }
  }

 private:
  static void attend(const AttentionView& a, int64_t s, int64_t query, int64_t head, Mat out) {
    const int64_t head_dim = a.q.cols / a.heads;
    const int64_t col = head * head_dim;
    const int64_t begin = a.cu_keys[s], end = a.cu_keys[s + 1];
    std::vector<double> p(static_cast<size_t>(end - begin));
    double maximum = -INFINITY, sum = 0;
    for (int64_t t = begin; t < end; ++t) {
      double dot = 0;
      for (int64_t i = 0; i < head_dim; ++i) {
        dot += double{a.q.row(query)[col + i]} * a.k.row(t)[col + i];
      }
      dot /= std::sqrt(static_cast<double>(head_dim));
      p[static_cast<size_t>(t - begin)] = dot;
      maximum = std::max(maximum, dot);
    }
    for (double& x : p) sum += x = std::exp(x - maximum);
    for (int64_t i = 0; i < head_dim; ++i) {
      double mix = 0;
      for (int64_t t = begin; t < end; ++t) {
        mix += p[static_cast<size_t>(t - begin)] * a.v.row(t)[col + i];
      }
      out.row(query)[col + i] = static_cast<float>(mix / sum);
    }
  }
};

class RefDevice : public Device {
 public:
  std::string_view name() const override { return "ref"; }
  std::string_view isa() const override { return "scalar"; }
  int threads() const override { return 1; }
  size_t preferred_batch_tokens() const override { return 1024; }
  Ops& ops() override { return ops_; }

 private:
  RefOps ops_;
};

}  // namespace

std::unique_ptr<Device> make_ref_device() { return std::make_unique<RefDevice>(); }

}  // namespace tamis
