#include "backend/ref/ref_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/ref/ref_activation.h"
#include "backend/ref/ref_int8.h"
#include "backend/ref/ref_train_ops.h"
#include "device/host_device.h"
#include "device/plain_linear.h"

namespace tamis {
namespace {

/// A layer is packed in the plain form; in int8, as ref_int8.cc has it with the bias behind.
size_t int8_bias_offset(int64_t in, int64_t out) {
  return (ref_int8_bytes(in, out) + 63) / 64 * 64;
}

size_t packed_bytes(int64_t in, int64_t out, DType dtype) {
  if (dtype != DType::kI8) return plain_linear_bytes(in, out, dtype);
  return int8_bias_offset(in, out) + static_cast<size_t>(out) * sizeof(float);
}

const float* packed_bias(const PackedLinear& w) {
  if (w.dtype != DType::kI8) return plain_linear_bias(w);
  return reinterpret_cast<const float*>(w.data + int8_bias_offset(w.in_features, w.out_features));
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
  void pack_linear(const LinearSource& source, DType dtype, std::byte* out) override {
    if (dtype != DType::kI8) return pack_plain_linear(source, dtype, out);
    int64_t features = 0;
    const int64_t in = source.weights[0]->shape[1];
    for (const TensorView* w : source.weights) features += w->shape[0];
    auto* bias = reinterpret_cast<float*>(out + int8_bias_offset(in, features));
    std::fill_n(bias, features, 0.0f);
    for (size_t i = 0; i < source.weights.size(); ++i) {
      const TensorView& w = *source.weights[i];
      if (w.dtype != DType::kI8) require_finite(w, dtype);
      if (const TensorView* b = source.biases[i]; b != nullptr) {
        require_finite(*b, DType::kF32);
        convert_to_f32(b->dtype, b->bytes.data(), bias, static_cast<size_t>(w.shape[0]));
      }
      bias += w.shape[0];
    }
    ref_int8_pack(source, out);
  }

  void set_scratch(std::span<std::byte>) override {}

  void embed_layer_norm(const EmbeddingWeights& w, const BatchView& batch, Mat out) override {
    std::vector<double> v(static_cast<size_t>(w.hidden));
    std::vector<float> word(v.size());
    const int64_t row_bytes = w.hidden * static_cast<int64_t>(size_of(w.word_dtype));
    for (int64_t t = 0; t < batch.tokens; ++t) {
      convert_to_f32(w.word_dtype, w.words + batch.ids[t] * row_bytes, word.data(), word.size());
      const float* position = w.positions + batch.positions[t] * w.hidden;
      const float* type = w.types + batch.type_ids[t] * w.hidden;
      for (size_t i = 0; i < v.size(); ++i) v[i] = double{word[i]} + type[i] + position[i];
      normalize(v, w.norm, out.row(t));
    }
  }

  void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) override {
    const int64_t in = weights.in_features, out = weights.out_features;
    const float* bias = packed_bias(weights);
    if (weights.dtype == DType::kI8) {
      std::vector<double> sums(static_cast<size_t>(out));
      for (int64_t r = 0; r < x.rows; ++r) {
        ref_int8_row(weights, x.row(r), sums.data());
        for (int64_t o = 0; o < out; ++o) {
          y.row(r)[o] =
              static_cast<float>(ref_activate(activation, sums[static_cast<size_t>(o)] + bias[o]));
        }
      }
      return;
    }
    std::vector<float> row(static_cast<size_t>(in));
    for (int64_t o = 0; o < out; ++o) {
      const size_t at = static_cast<size_t>(o) * row.size() * size_of(weights.dtype);
      convert_to_f32(weights.dtype, weights.data + at, row.data(), row.size());
      for (int64_t r = 0; r < x.rows; ++r) {
        double sum = bias[o];
        for (size_t i = 0; i < row.size(); ++i) sum += double{x.row(r)[i]} * row[i];
        y.row(r)[o] = static_cast<float>(ref_activate(activation, sum));
      }
    }
  }

  void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& w, Mat y) override {
    std::vector<double> v(static_cast<size_t>(x.cols));
    for (int64_t r = 0; r < x.rows; ++r) {
      for (size_t i = 0; i < v.size(); ++i) {
        v[i] = x.row(r)[i];
        if (residual.data != nullptr) v[i] += residual.row(r)[i];
      }
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

  void gather_rows(ConstMat x, const int32_t* rows, Mat y) override {
    for (int64_t i = 0; i < y.rows; ++i) {
      std::memmove(y.row(i), x.row(rows[i]), static_cast<size_t>(x.cols) * sizeof(float));
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

  void max_rows(ConstMat x, bool more, Mat y) override {
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) {
        const float value = x.row(r)[c];
        float& best = y.row(0)[c];
        if ((r == 0 && !more) || value > best || std::isnan(value)) best = value;
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

class RefDevice : public HostDevice {
 public:
  explicit RefDevice(const HostProbe& host) : HostDevice(make_info(), host) {}

  std::shared_ptr<Stream> make_stream(const StreamOptions&) override {
    return std::make_shared<HostStream>(std::make_unique<RefOps>(), make_ref_train_ops());
  }
  size_t linear_bytes(int64_t in, int64_t out, DType dtype) const override {
    return packed_bytes(in, out, dtype);
  }
  size_t scratch_bytes(const ScratchShape&, const StreamOptions&) const override { return 0; }

 private:
  static DeviceInfo make_info() {
    DeviceInfo info;
    info.name = info.kind = "ref";
    info.description = "the specification: plain loops in double, one thread";
    info.isa = "scalar";
    info.host_memory = true;
    return info;
  }
};

}  // namespace

std::shared_ptr<Device> make_ref_device(const HostProbe& host) {
  return std::make_shared<RefDevice>(host);
}

}  // namespace tamis
