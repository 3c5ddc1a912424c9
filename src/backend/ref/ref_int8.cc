#include "backend/ref/ref_int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "numeric/quantization.h"

namespace tamis {
namespace {

constexpr float kLevels = 255.0f;

/// [outlier count, columns...], f32 smoothing of each input, scale and outlier weights of each
/// output, s8 weights.
struct Layout {
  Layout(int64_t in, int64_t out)
      : slots(max_outlier_columns(in)),
        smoothing(static_cast<size_t>(1 + slots) * 4),
        scales(smoothing + static_cast<size_t>(in) * 4),
        outliers(scales + static_cast<size_t>(out) * 4),
        weights(outliers + static_cast<size_t>(out * slots) * 4),
        bytes(weights + static_cast<size_t>(in * out)) {}
  int64_t slots;
  size_t smoothing, scales, outliers, weights, bytes;
};

}  // namespace

size_t ref_int8_bytes(int64_t in, int64_t out) { return Layout(in, out).bytes; }

void ref_int8_pack(const LinearSource& source, std::byte* out) {
  int64_t features = 0;
  const int64_t in = source.weights[0]->shape[1];
  for (const TensorView* w : source.weights) features += w->shape[0];
  const Layout layout(in, features);
  auto* columns = reinterpret_cast<int32_t*>(out);
  auto* scale = reinterpret_cast<float*>(out + layout.scales);
  auto* outliers = reinterpret_cast<float*>(out + layout.outliers);
  auto* q = reinterpret_cast<int8_t*>(out + layout.weights);
  std::fill_n(columns, 1 + layout.slots, 0);
  std::fill_n(outliers, features * layout.slots, 0.0f);
  auto* smoothing = reinterpret_cast<float*>(out + layout.smoothing);
  std::fill_n(smoothing, in, 1.0f);
  if (const InputQuantization* input = source.quantization; input != nullptr) {
    columns[0] = static_cast<int32_t>(input->outlier_columns.size());
    std::copy(input->outlier_columns.begin(), input->outlier_columns.end(), columns + 1);
    std::copy(input->smoothing.begin(), input->smoothing.end(), smoothing);
  }
  for (size_t n = 0; n < source.weights.size(); ++n) {
    const TensorView* w = source.weights[n];
    if (w->dtype == DType::kI8) {
      const auto rows = static_cast<size_t>(w->shape[0]);
      std::copy_n(source.int8[n].scale, rows, scale);
      std::memcpy(q, w->bytes.data(), rows * static_cast<size_t>(in));
      for (size_t o = 0; o < rows; ++o, q += in, outliers += layout.slots, ++scale) {
        std::copy_n(source.int8[n].outliers + o * static_cast<size_t>(columns[0]), columns[0],
                    outliers);
      }
      continue;
    }
    std::vector<float> values(static_cast<size_t>(in * w->shape[0]));
    convert_to_f32(w->dtype, w->bytes.data(), values.data(), values.size());
    const InputQuantization none;
    const InputQuantization& input = source.quantization != nullptr ? *source.quantization : none;
    for (int64_t o = 0; o < w->shape[0]; ++o, q += in, outliers += layout.slots, ++scale) {
      quantize_weights(values.data() + o * in, static_cast<size_t>(in), input, q, scale, outliers);
    }
  }
}

void ref_int8_row(const PackedLinear& weights, const float* x, double* y) {
  const int64_t in = weights.in_features;
  const Layout layout(in, weights.out_features);
  const auto* columns = reinterpret_cast<const int32_t*>(weights.data);
  const auto* scale = reinterpret_cast<const float*>(weights.data + layout.scales);
  const auto* outliers = reinterpret_cast<const float*>(weights.data + layout.outliers);
  const auto* w = reinterpret_cast<const int8_t*>(weights.data + layout.weights);

  const auto* smoothing = reinterpret_cast<const float*>(weights.data + layout.smoothing);
  std::vector<float> clean(static_cast<size_t>(in));
  for (int64_t i = 0; i < in; ++i) clean[static_cast<size_t>(i)] = x[i] * smoothing[i];
  for (int32_t i = 0; i < columns[0]; ++i) clean[static_cast<size_t>(columns[1 + i])] = 0.0f;
  const float low = std::min(0.0f, *std::min_element(clean.begin(), clean.end()));
  const float width = std::max(0.0f, *std::max_element(clean.begin(), clean.end())) - low;
  const float inverse = width > 1e-30f ? kLevels / width : 0.0f;
  const bool finite = std::all_of(x, x + in, [](float v) { return std::isfinite(v); });
  const double row_scale = finite ? double{width / kLevels} : std::nan("");
  const int64_t zero = finite ? std::lrintf(-low * inverse) : 0;
  std::vector<int64_t> q(clean.size());
  for (size_t i = 0; i < q.size() && finite; ++i) {
    q[i] = std::clamp<int64_t>(std::lrintf(clean[i] * inverse) + zero, 0, 255);
  }
  for (int64_t o = 0; o < weights.out_features; ++o) {
    int64_t sum = 0;
    for (int64_t i = 0; i < in; ++i) sum += (q[static_cast<size_t>(i)] - zero) * w[o * in + i];
    y[o] = static_cast<double>(sum) * row_scale * double{scale[o]};
    for (int32_t i = 0; i < columns[0]; ++i) {
      y[o] += double{x[columns[1 + i]]} * double{outliers[o * layout.slots + i]};
    }
  }
}

}  // namespace tamis
