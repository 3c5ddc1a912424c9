#include "backend/ref/ref_int8.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "numeric/quantization.h"

namespace tamis {
namespace {

constexpr float kLevels = 255.0f;

/// [outlier count, columns...], f32 scale of each output, f32 outlier weights of each output, s8.
struct Layout {
  Layout(int64_t in, int64_t out)
      : slots(max_outlier_columns(in)),
        scales(static_cast<size_t>(1 + slots) * 4),
        outliers(scales + static_cast<size_t>(out) * 4),
        weights(outliers + static_cast<size_t>(out * slots) * 4),
        bytes(weights + static_cast<size_t>(in * out)) {}
  int64_t slots;
  size_t scales, outliers, weights, bytes;
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
  columns[0] = static_cast<int32_t>(source.outlier_columns.size());
  std::copy(source.outlier_columns.begin(), source.outlier_columns.end(), columns + 1);
  for (const TensorView* w : source.weights) {
    std::vector<float> values(static_cast<size_t>(in * w->shape[0]));
    convert_to_f32(w->dtype, w->bytes.data(), values.data(), values.size());
    for (int64_t o = 0; o < w->shape[0]; ++o, q += in, outliers += layout.slots, ++scale) {
      float* row = values.data() + o * in;
      for (int32_t i = 0; i < columns[0]; ++i) {
        outliers[i] = row[columns[1 + i]];
        row[columns[1 + i]] = 0.0f;
      }
      float largest = 0.0f;
      for (int64_t i = 0; i < in; ++i) largest = std::max(largest, std::abs(row[i]));
      const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
      *scale = largest / 127.0f;
      for (int64_t i = 0; i < in; ++i) {
        q[i] = static_cast<int8_t>(std::nearbyintf(row[i] * inverse));
      }
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

  std::vector<float> clean(x, x + in);
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
