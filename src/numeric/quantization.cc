#include "numeric/quantization.h"

#include <cmath>
#include <utility>

namespace tamis {

void quantize_weights(float* w, size_t n, const InputQuantization& input, int8_t* q, float* scale,
                      float* outliers) {
  for (int32_t column : input.outlier_columns) {
    *outliers++ = std::exchange(w[static_cast<size_t>(column)], 0.0f);
  }
  float largest = 0.0f;
  for (size_t i = 0; i < n; ++i) {
    if (!input.smoothing.empty()) w[i] /= input.smoothing[i];
    largest = std::max(largest, std::abs(w[i]));
  }
  const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
  *scale = largest / 127.0f;
  for (size_t i = 0; i < n; ++i) q[i] = static_cast<int8_t>(std::nearbyintf(w[i] * inverse));
}

void dequantize_weights(const int8_t* q, size_t n, const InputQuantization& input, float scale,
                        const float* outliers, float* w) {
  for (size_t i = 0; i < n; ++i) {
    w[i] = scale * static_cast<float>(q[i]);
    if (!input.smoothing.empty()) w[i] *= input.smoothing[i];
  }
  for (int32_t column : input.outlier_columns) w[static_cast<size_t>(column)] = *outliers++;
}

}  // namespace tamis
