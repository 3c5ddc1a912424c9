#include "device/plain_linear.h"

#include <algorithm>
#include <vector>

namespace tamis {
namespace {

size_t bias_offset(int64_t in, int64_t out, DType dtype) {
  return (static_cast<size_t>(in * out) * size_of(dtype) + 63) / 64 * 64;
}

}  // namespace

size_t plain_linear_bytes(int64_t in, int64_t out, DType dtype) {
  return bias_offset(in, out, dtype) + static_cast<size_t>(out) * sizeof(float);
}

const float* plain_linear_bias(const PackedLinear& w) {
  return reinterpret_cast<const float*>(w.data +
                                        bias_offset(w.in_features, w.out_features, w.dtype));
}

void pack_plain_linear(const LinearSource& source, DType dtype, std::byte* out) {
  int64_t features = 0;
  for (const TensorView* w : source.weights) features += w->shape[0];
  auto* bias =
      reinterpret_cast<float*>(out + bias_offset(source.weights[0]->shape[1], features, dtype));
  std::fill_n(bias, features, 0.0f);
  std::vector<float> values;
  for (size_t i = 0; i < source.weights.size(); ++i) {
    const TensorView& w = *source.weights[i];
    require_finite(w, dtype);
    const auto n = static_cast<size_t>(element_count(w.shape));
    values.resize(n);
    convert_to_f32(w.dtype, w.bytes.data(), values.data(), n);
    convert_from_f32(dtype, values.data(), out, n);
    out += n * size_of(dtype);
    if (const TensorView* b = source.biases[i]; b != nullptr) {
      require_finite(*b, DType::kF32);
      convert_to_f32(b->dtype, b->bytes.data(), bias, static_cast<size_t>(w.shape[0]));
    }
    bias += w.shape[0];
  }
}

}  // namespace tamis
