#include "backend/sim/sim_operands.h"

#include "base/fail.h"

namespace tamis {

std::byte* SimOperands::bytes(const void* address, size_t bytes, std::string_view operand) {
  std::shared_ptr<std::byte> found = memory_.find(address, bytes);
  if (found == nullptr) {
    fail(ErrorCode::kInternal, "{0}: {1}: {2}, {3} bytes at {4}, is not memory of {0}: {5}",
         memory_.device(), work_, operand, bytes, address, memory_.explain(address, bytes));
  }
  held_.push_back(std::move(found));
  return held_.back().get();
}

std::byte* SimOperands::aligned(const void* address, size_t bytes, std::string_view operand) {
  require(reinterpret_cast<uintptr_t>(address) % 64 == 0, operand, "aligned to 64 bytes");
  return this->bytes(address, bytes, operand);
}

const int32_t* SimOperands::indices(const int32_t* address, int64_t count, int64_t limit,
                                    std::string_view operand) {
  const int32_t* values = array(address, count, operand);
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] >= 0 && values[i] < limit) continue;
    fail(ErrorCode::kInternal, "{}: {}: {}[{}] is {}, expected 0 to {}", memory_.device(), work_,
         operand, i, values[i], limit - 1);
  }
  return values;
}

const int32_t* SimOperands::bounds(const int32_t* address, int64_t sequences, int64_t shortest,
                                   int64_t limit, std::string_view operand) {
  if (sequences == 0) return address;
  const int32_t* values = array(address, sequences + 1, operand);
  int64_t least = 0;
  for (int64_t i = 0; i <= sequences; ++i) {
    if (values[i] < least || values[i] > limit) {
      fail(ErrorCode::kInternal, "{}: {}: {}[{}] is {}, expected {} to {}", memory_.device(), work_,
           operand, i, values[i], least, limit);
    }
    least = values[i] + shortest;
  }
  return values;
}

void SimOperands::require(bool condition, std::string_view operand,
                          std::string_view expected) const {
  if (condition) return;
  fail(ErrorCode::kInternal, "{}: {}: {} is not {}", memory_.device(), work_, operand, expected);
}

void SimOperands::check_shape(int64_t rows, int64_t cols, int64_t stride, int64_t expected_rows,
                              int64_t expected_cols, std::string_view operand) const {
  if (rows != expected_rows || cols != expected_cols) {
    fail(ErrorCode::kInternal, "{}: {}: {} is [{}, {}], expected [{}, {}]", memory_.device(), work_,
         operand, rows, cols, expected_rows, expected_cols);
  }
  if (rows < 0 || cols < 0 || (rows > 1 && stride < cols)) {
    fail(ErrorCode::kInternal, "{}: {}: {} is [{}, {}] of stride {}", memory_.device(), work_,
         operand, rows, cols, stride);
  }
}

}  // namespace tamis
