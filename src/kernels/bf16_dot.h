#pragma once

// Products of bf16 summed in f32, for CPUs that have instructions for them. Plain data and function
// pointers, because each implementation is a file compiled for its own instruction set.

#include <cstdint>
#include <string_view>

namespace tamis::kernels {

/// k is a multiple of this; one row of an AMX tile.
constexpr int64_t kBf16Depth = 32;
/// Columns of a panel of B.
constexpr int64_t kBf16Columns = 32;
/// Rows of a block at most. Whole groups of 16 may be read and written, also where fewer are
/// wanted.
constexpr int64_t kBf16Rows = 32;

/// acc[r][c] = (add ? acc[r][c] : 0) + sum over k of a[r][k] * b[k][c]. Products are exact and
/// added in pairs; the order along k does not depend on rows or panels. Subnormal numbers count as
/// zero.
struct Bf16Block {
  const uint16_t* a;  ///< [rows][lda]; aligned to 64 bytes
  int64_t lda;        ///< elements, a multiple of 32
  int64_t rows;       ///< 1 to kBf16Rows
  int64_t k;
  const uint16_t* b;  ///< [panels][k / 2][kBf16Columns][2]; aligned to 64 bytes
  int64_t panels;
  float* acc;      ///< [rows][ld_acc]; aligned to 64 bytes
  int64_t ld_acc;  ///< elements, a multiple of 16
  bool add;
};

struct Bf16Dot {
  std::string_view isa;  ///< "amx", "avx512_bf16"
  void (*multiply)(const Bf16Block& block);
};

/// What this CPU has for the int8 instructions of that name; null where bf16 gains nothing there.
const Bf16Dot* bf16_dot(std::string_view int8_isa);

/// Null where the compiler's target cannot have it.
extern const Bf16Dot kBf16Amx, kBf16Avx512;

}  // namespace tamis::kernels
