#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/int8_dot.h"

HWY_PUSH_ATTRIBUTES("avx512f,amx-tile,amx-int8")
#include "kernels/amx_tiles-inl.h"

namespace tamis::kernels {
namespace {

constexpr int64_t kColumns = 32;
constexpr int64_t kTileBytes = 16 * kColumns * 4;  // of B, for 64 inputs

inline void fetch(const std::byte* from, int64_t lines) {
  for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(from + 64 * i, 0, 2);
}

inline void two_row_groups(const uint8_t* a, int64_t lda, const int8_t* b, int64_t k, int32_t* acc,
                           const std::byte* ahead, int64_t lines) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const uint8_t* a_next = a + kInt8RowGroup * lda;
  for (int64_t i = 0; i < k; i += kInt8Depth, b += kTileBytes) {
    _tile_loadd(6, b, kColumns * 4);
    _tile_loadd(4, a + i, lda);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, b + 64, kColumns * 4);
    _tile_dpbusd(1, 4, 7);
    _tile_loadd(5, a_next + i, lda);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
    fetch(ahead, lines);
    ahead += 64 * lines;
  }
  int32_t* acc_next = acc + kInt8RowGroup * kColumns;
  _tile_stored(0, acc, kColumns * 4);
  _tile_stored(1, acc + 16, kColumns * 4);
  _tile_stored(2, acc_next, kColumns * 4);
  _tile_stored(3, acc_next + 16, kColumns * 4);
}

inline void one_row_group(const uint8_t* a, int64_t lda, const int8_t* b, int64_t k, int32_t* acc,
                          const std::byte* ahead, int64_t lines) {
  _tile_zero(0);
  _tile_zero(1);
  for (int64_t i = 0; i < k; i += kInt8Depth, b += kTileBytes) {
    _tile_loadd(4, a + i, lda);
    _tile_loadd(6, b, kColumns * 4);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, b + 64, kColumns * 4);
    _tile_dpbusd(1, 4, 7);
    fetch(ahead, lines);
    ahead += 64 * lines;
  }
  _tile_stored(0, acc, kColumns * 4);
  _tile_stored(1, acc + 16, kColumns * 4);
}

void multiply(const Int8Block& g) {
  configure_tiles();
  const int64_t groups = (g.rows + kInt8RowGroup - 1) / kInt8RowGroup;
  const int64_t lines = kTileBytes / 64 / ((groups + 1) / 2);  // for each 64 inputs
  const std::byte* ahead = g.ahead;
  for (int64_t i = 0; i < groups; i += 2) {
    const uint8_t* a = g.a + i * kInt8RowGroup * g.lda;
    int32_t* acc = g.acc + i * kInt8RowGroup * kColumns;
    const auto rows = i + 1 < groups ? two_row_groups : one_row_group;
    rows(a, g.lda, g.b, g.k, acc, ahead, lines);
    ahead += 64 * lines * (g.k / kInt8Depth);
  }
  _tile_release();
}

}  // namespace

const Int8Dot kInt8Amx = {"amx", 255, multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
