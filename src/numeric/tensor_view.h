#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "numeric/dtype.h"

namespace tamis {

using Shape = std::vector<int64_t>;

std::string to_string(const Shape& shape);  ///< "[1024, 4096]"
/// Product of the dimensions; -1 if one is negative or the product does not fit 62 bits.
int64_t element_count(const Shape& shape);

/// A tensor as it is stored in a file: contiguous, row-major, not owned. Bytes may be unaligned.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// Throws data_loss naming the tensor, the index and the value of the first NaN or Inf, or of the
/// first value that `dtype` (f32, f16 or bf16) cannot hold.
/// Slow: the ops check whole tensors fast and call this to find the place.
void require_finite(const TensorView& tensor, DType dtype = DType::kF32);

/// Rows x cols of f32, `stride` elements apart; not owned. Lives in its device's address space.
template <class T>
struct MatView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  MatView() = default;
  MatView(T* d, int64_t r, int64_t c) : MatView(d, r, c, c) {}
  MatView(T* d, int64_t r, int64_t c, int64_t s) : data(d), rows(r), cols(c), stride(s) {}
  /// A view of T converts to a view of const T.
  operator MatView<const T>() const { return {data, rows, cols, stride}; }

  T* row(int64_t r) const { return data + r * stride; }
  MatView row_range(int64_t begin, int64_t end) const {
    return {data + begin * stride, end - begin, cols, stride};
  }
  MatView col_range(int64_t begin, int64_t end) const {
    return {data + begin, rows, end - begin, stride};
  }
};
using Mat = MatView<float>;
using ConstMat = MatView<const float>;

}  // namespace tamis
