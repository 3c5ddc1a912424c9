#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "backend/sim/sim_memory.h"
#include "numeric/tensor_view.h"

namespace tamis {

/// The operands of one piece of work while it runs: addresses of the device become those of the
/// bytes, which stay for as long as this object does. A kernel would read whatever it is told to;
/// this checks the whole extent, and index arrays before anybody follows them.
/// Errors of every function: internal (device, work, operand, and what is wrong with it).
class SimOperands {
 public:
  SimOperands(const SimMemory& memory, std::string_view work) : memory_(memory), work_(work) {}

  std::byte* bytes(const void* address, size_t bytes, std::string_view operand);
  /// As bytes; the address must be a multiple of 64.
  std::byte* aligned(const void* address, size_t bytes, std::string_view operand);

  /// count <= 0: nothing is read, the address may be anything.
  template <class T>
  T* array(T* address, int64_t count, std::string_view operand) {
    if (count <= 0) return address;
    return reinterpret_cast<T*>(bytes(address, static_cast<size_t>(count) * sizeof(T), operand));
  }
  /// Checks the shape as well.
  template <class T>
  MatView<T> mat(MatView<T> m, int64_t rows, int64_t cols, std::string_view operand) {
    check_shape(m.rows, m.cols, m.stride, rows, cols, operand);
    m.data = array(m.data, m.rows == 0 ? 0 : (m.rows - 1) * m.stride + m.cols, operand);
    return m;
  }
  template <class T>
  MatView<T> mat(MatView<T> m, std::string_view operand) {
    return mat(m, m.rows, m.cols, operand);
  }

  /// count indices, each in [0, limit).
  const int32_t* indices(const int32_t* address, int64_t count, int64_t limit,
                         std::string_view operand);
  /// Where sequences begin and end, [sequences + 1], none shorter than `shortest`, within
  /// [0, limit].
  const int32_t* bounds(const int32_t* address, int64_t sequences, int64_t shortest, int64_t limit,
                        std::string_view operand);
  void require(bool condition, std::string_view operand, std::string_view expected) const;

 private:
  void check_shape(int64_t rows, int64_t cols, int64_t stride, int64_t expected_rows,
                   int64_t expected_cols, std::string_view operand) const;

  const SimMemory& memory_;
  std::string_view work_;
  std::vector<std::shared_ptr<std::byte>> held_;
};

}  // namespace tamis
