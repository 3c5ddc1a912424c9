#include "model/int8_checkpoint.h"

#include <cmath>
#include <cstring>

#include "base/fail.h"

namespace tamis {
namespace {

const TensorView* find_part(const io::Checkpoint& checkpoint, const TensorView& weight,
                            std::string_view suffix, DType dtype, const Shape& shape) {
  const TensorView* part = checkpoint.find(weight.name + std::string(suffix));
  if (part == nullptr) return nullptr;
  if (part->dtype != dtype || part->shape != shape) {
    fail(ErrorCode::kDataLoss, "tensor {}: expected {} {}, got {} {}", part->name, name_of(dtype),
         to_string(shape), name_of(part->dtype), to_string(part->shape));
  }
  return part;
}

const TensorView& require_part(const TensorView* part, const TensorView& weight,
                               std::string_view suffix) {
  if (part != nullptr) return *part;
  fail(ErrorCode::kDataLoss,
       "tensor {} is I8, and {}{}, which says what its values mean, is missing", weight.name,
       weight.name, suffix);
}

/// Values of a part; each within (low, high).
std::vector<float> read_floats(const TensorView& part, float low, float high) {
  std::vector<float> out(static_cast<size_t>(element_count(part.shape)));
  std::memcpy(out.data(), part.bytes.data(), part.bytes.size());
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] >= low && out[i] <= high) continue;  // false for NaN
    fail(ErrorCode::kDataLoss, "tensor {}: element {} is {}, expected {} to {}", part.name, i,
         out[i], low, high);
  }
  return out;
}

constexpr float kLargest = 1e30f;

}  // namespace

Int8Weight read_int8_weight(const io::Checkpoint& checkpoint, const TensorView& weight) {
  const int64_t out = weight.shape[0], in = weight.shape[1];
  Int8Weight parts;
  const TensorView& scale =
      require_part(find_part(checkpoint, weight, "_scale", DType::kF32, {out}), weight, "_scale");
  parts.scale = read_floats(scale, 0.0f, kLargest);
  if (const auto* t = find_part(checkpoint, weight, "_smoothing", DType::kF32, {in})) {
    parts.input.smoothing = read_floats(*t, 1e-20f, 1e20f);
  }
  const TensorView* columns = checkpoint.find(weight.name + "_outlier_columns");
  if (columns == nullptr) return parts;
  const int64_t n = element_count(columns->shape);
  if (columns->dtype != DType::kI32 || columns->shape.size() != 1 || n > max_outlier_columns(in)) {
    fail(ErrorCode::kDataLoss, "tensor {}: expected I32 [n] with n at most {}, got {} {}",
         columns->name, max_outlier_columns(in), name_of(columns->dtype),
         to_string(columns->shape));
  }
  parts.input.outlier_columns.resize(static_cast<size_t>(n));
  std::memcpy(parts.input.outlier_columns.data(), columns->bytes.data(), columns->bytes.size());
  int32_t least = 0;
  for (int32_t column : parts.input.outlier_columns) {
    if (column < least || column >= in) {
      fail(ErrorCode::kDataLoss, "tensor {}: column {} is not in [{}, {})", columns->name, column,
           least, in);
    }
    least = column + 1;
  }
  const TensorView& outliers = require_part(
      find_part(checkpoint, weight, "_outliers", DType::kF32, {out, n}), weight, "_outliers");
  parts.outliers = read_floats(outliers, -kLargest, kLargest);
  return parts;
}

std::vector<float> dequantize(const TensorView& weight, const Int8Weight& parts) {
  const auto in = static_cast<size_t>(weight.shape[1]);
  std::vector<float> out(static_cast<size_t>(element_count(weight.shape)));
  const auto* q = reinterpret_cast<const int8_t*>(weight.bytes.data());
  const size_t outliers = parts.input.outlier_columns.size();
  for (size_t o = 0; o < parts.scale.size(); ++o) {
    dequantize_weights(q + o * in, in, parts.input, parts.scale[o],
                       parts.outliers.data() + o * outliers, out.data() + o * in);
  }
  return out;
}

}  // namespace tamis
