#pragma once

// What int8 layers are, for whoever chooses, stores or runs them (docs/decisions/0008-int8.md).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tamis {

/// Inputs of an int8 layer that may stay in f32, weights and activations, because their values are
/// far larger than the others' and would take the resolution from them. Room for as many is always
/// kept, so that the size of a layer follows from its shape.
inline int64_t max_outlier_columns(int64_t inputs) {
  return std::clamp<int64_t>(inputs / 64, 1, 16);
}

/// How the input of an int8 layer is brought into a form that 8 bits serve well. Empty: as it is.
struct InputQuantization {
  /// These inputs stay f32, and so do their weights. Ascending, at most max_outlier_columns.
  std::vector<int32_t> outlier_columns = {};
  /// x[i] is multiplied by smoothing[i] before it is quantised, and the weights of input i are
  /// divided by it: SmoothQuant [Xiao et al., 2022]. One for each input, or none.
  std::vector<float> smoothing = {};
  /// What 8 bits cost a sample: |x - x as quantised| / |x|, over all rows.
  float error = 0.0f;
};

/// One row of weights, [n], as int8: q[i] = round(w[i] / smoothing[i] / scale) with the scale that
/// maps the largest to 127. Outlier columns go to `outliers`, and their q is 0. Changes w.
void quantize_weights(float* w, size_t n, const InputQuantization& input, int8_t* q, float* scale,
                      float* outliers);
/// The way back.
void dequantize_weights(const int8_t* q, size_t n, const InputQuantization& input, float scale,
                        const float* outliers, float* w);

}  // namespace tamis
