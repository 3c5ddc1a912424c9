#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/int8_dot.h"

HWY_PUSH_ATTRIBUTES("avx512f,amx-tile,amx-int8")
#include "kernels/amx_tiles-inl.h"

namespace tamis::kernels {
namespace {

constexpr int64_t kColumns = 32;
constexpr int64_t kTileBytes = 16 * kColumns * 4;  // of B, for 64 inputs

/// What each step of 64 inputs asks for.
struct Ahead {
  const std::byte* at;
  int64_t step;

  void fetch() {
    for (int64_t i = 0; i < step; i += 64) __builtin_prefetch(at + i, 0, 2);
    at += step;
  }
};

// Rows of A and a panel of B stay in L1 for 512 inputs: 16 KiB each for two groups of rows. With
// 1024 at a time B came from L2 for every two groups: 2.8 instead of 3.9 of 4.0 TOP/s that the
// tiles do (Emerald Rapids). Sums wait in `acc`, 12 KiB for 96 rows.
constexpr int64_t kChunk = 512;

inline void two_row_groups(const uint8_t* a, int64_t lda, const int8_t* b, int64_t k, bool add,
                           int32_t* acc, Ahead& ahead) {
  int32_t* acc_next = acc + kInt8RowGroup * kColumns;
  if (add) {
    _tile_loadd(0, acc, kColumns * 4);
    _tile_loadd(1, acc + 16, kColumns * 4);
    _tile_loadd(2, acc_next, kColumns * 4);
    _tile_loadd(3, acc_next + 16, kColumns * 4);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
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
    ahead.fetch();
  }
  _tile_stored(0, acc, kColumns * 4);
  _tile_stored(1, acc + 16, kColumns * 4);
  _tile_stored(2, acc_next, kColumns * 4);
  _tile_stored(3, acc_next + 16, kColumns * 4);
}

inline void one_row_group(const uint8_t* a, int64_t lda, const int8_t* b, int64_t k, bool add,
                          int32_t* acc, Ahead& ahead) {
  if (add) {
    _tile_loadd(0, acc, kColumns * 4);
    _tile_loadd(1, acc + 16, kColumns * 4);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  for (int64_t i = 0; i < k; i += kInt8Depth, b += kTileBytes) {
    _tile_loadd(4, a + i, lda);
    _tile_loadd(6, b, kColumns * 4);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, b + 64, kColumns * 4);
    _tile_dpbusd(1, 4, 7);
    ahead.fetch();
  }
  _tile_stored(0, acc, kColumns * 4);
  _tile_stored(1, acc + 16, kColumns * 4);
}

void multiply(const Int8Block& g) {
  configure_tiles();
  const int64_t groups = (g.rows + kInt8RowGroup - 1) / kInt8RowGroup;
  const int64_t steps = (groups + 1) / 2 * (g.k / kInt8Depth);
  Ahead ahead{g.ahead, (g.ahead_bytes + steps - 1) / steps};
  for (int64_t k = 0; k < g.k; k += kChunk) {
    for (int64_t i = 0; i < groups; i += 2) {
      const auto rows = i + 1 < groups ? two_row_groups : one_row_group;
      rows(g.a + i * kInt8RowGroup * g.lda + k, g.lda, g.b + k * kColumns,
           kChunk < g.k - k ? kChunk : g.k - k, k > 0, g.acc + i * kInt8RowGroup * kColumns, ahead);
    }
  }
  _tile_release();
}

}  // namespace

const Int8Dot kInt8Amx = {"amx", 255, 1280 << 10, multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
