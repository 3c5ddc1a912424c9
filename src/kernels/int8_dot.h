#pragma once

// The integer part of an int8 GEMM: u8 x s8 -> s32, exact on every instruction set. Plain data and
// function pointers, because each implementation is a file compiled for its own instruction set.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tamis::kernels {

/// Inputs of a row are padded with zeros to a multiple of this; one row of an AMX tile.
constexpr int64_t kInt8Depth = 64;
/// A whole group of rows may be read and written, also where fewer are wanted; an AMX tile.
constexpr int64_t kInt8RowGroup = 16;

/// acc[r][c] = sum over k of a[r][k] * b[k][c].
///
/// No sum overflows: |a b| <= 255 * 127, so that k may reach 2^31 / 32,385 = 66,311. Where products
/// are added in pairs as s16 (AVX2 without VNNI), a stays below 128 and 2 * 127 * 127 = 32,258
/// below 2^15; hence Int8Dot::levels.
struct Int8Block {
  const uint8_t* a;  ///< [rows][lda], each < levels + 1; aligned to 64 bytes
  int64_t lda;       ///< bytes, a multiple of 64
  int64_t rows;
  int64_t k;               ///< a multiple of kInt8Depth, at most kMaxInt8Inputs
  const int8_t* b;         ///< [k / 4][nr][4], within -127..127; aligned to 64 bytes
  int64_t nr;              ///< columns
  int32_t* acc;            ///< [rows][nr]; aligned to 64 bytes
  const std::byte* ahead;  ///< what is asked for meanwhile, as it is needed next
  int64_t ahead_bytes;     ///< at most k * nr
};

/// Of a layer: far below the bound above, and a row of f32 still fits a thread's stack.
constexpr int64_t kMaxInt8Inputs = 16384;

struct Int8Dot {
  std::string_view isa;  ///< "amx", "avx512_vnni", "avx512", "avx_vnni", "avx2", "generic"
  int32_t levels;        ///< the largest activation that it takes: 255 or 127
  int64_t block_bytes;   ///< of A that a pass over the weights takes: what L2 holds beside a panel
  void (*multiply)(const Int8Block& block);
};

/// Those that this CPU can run for panels of nr columns, best first; never empty, and the last one
/// runs everywhere.
std::vector<const Int8Dot*> int8_dots(int64_t nr);

/// Of one instruction set each; null where the compiler's target cannot have it.
extern const Int8Dot kInt8Amx, kInt8Avx512Vnni, kInt8Avx512, kInt8AvxVnni, kInt8Avx2, kInt8Generic;

}  // namespace tamis::kernels
