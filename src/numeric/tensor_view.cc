#include "numeric/tensor_view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "base/fail.h"

namespace tamis {

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dim : shape) {
    if (dim < 0) return -1;
    if (dim != 0 && count > (int64_t{1} << 62) / dim) return -1;
    count *= dim;
  }
  return count;
}

void require_finite(const TensorView& tensor, DType dtype) {
  if (dtype == DType::kI8) dtype = DType::kF32;  // with its scale it holds what f32 does
  const size_t n = static_cast<size_t>(element_count(tensor.shape));
  for (size_t i = 0; i < n; ++i) {
    float value = 0, kept = 0;
    convert_to_f32(tensor.dtype, tensor.bytes.data() + i * size_of(tensor.dtype), &value, 1);
    std::byte stored[sizeof(float)];
    convert_from_f32(dtype, &value, stored, 1);
    convert_to_f32(dtype, stored, &kept, 1);
    if (std::isfinite(kept)) continue;
    if (!std::isfinite(value)) {
      fail(ErrorCode::kDataLoss, "tensor {} {}: element {} is {}, expected a finite number",
           tensor.name, to_string(tensor.shape), i, value);
    }
    fail(ErrorCode::kDataLoss,
         "tensor {} {}: element {} is {}, which {} cannot hold; take bf16 or f32", tensor.name,
         to_string(tensor.shape), i, value, name_of(dtype));
  }
}

}  // namespace tamis
