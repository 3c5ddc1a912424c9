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

void require_finite(const TensorView& tensor) {
  const size_t n = static_cast<size_t>(element_count(tensor.shape));
  for (size_t i = 0; i < n; ++i) {
    float value = 0;
    convert_to_f32(tensor.dtype, tensor.bytes.data() + i * size_of(tensor.dtype), &value, 1);
    if (std::isfinite(value)) continue;
    fail(ErrorCode::kDataLoss, "tensor {} {}: element {} is {}, expected a finite number",
         tensor.name, to_string(tensor.shape), i, value);
  }
}

}  // namespace tamis
