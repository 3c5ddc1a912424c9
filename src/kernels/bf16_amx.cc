#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/bf16_dot.h"

HWY_PUSH_ATTRIBUTES("avx512f,amx-tile,amx-bf16")
#include "kernels/amx_tiles-inl.h"

namespace tamis::kernels {
namespace {

constexpr int64_t kStep = kBf16Columns * 4;  // bytes of a row of B: a pair of k
constexpr int64_t kPanelTile = kBf16Depth / 2 * kBf16Columns * 2;  // elements of B for 32 of k

struct Rows {
  const uint16_t* a;
  int64_t lda;  // bytes
  float* acc;
  int64_t ld_acc;  // bytes
};

/// 32 rows of A and one panel of B.
inline void two_row_groups(const Rows& r, const uint16_t* b, int64_t k, bool add) {
  float* next = r.acc + 16 * r.ld_acc / 4;
  if (add) {
    _tile_loadd(0, r.acc, r.ld_acc);
    _tile_loadd(1, r.acc + 16, r.ld_acc);
    _tile_loadd(2, next, r.ld_acc);
    _tile_loadd(3, next + 16, r.ld_acc);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint16_t* a_next = r.a + 16 * r.lda / 2;
  for (int64_t i = 0; i < k; i += kBf16Depth, b += kPanelTile) {
    _tile_loadd(6, b, kStep);
    _tile_loadd(4, r.a + i, r.lda);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 32, kStep);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a_next + i, r.lda);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, r.acc, r.ld_acc);
  _tile_stored(1, r.acc + 16, r.ld_acc);
  _tile_stored(2, next, r.ld_acc);
  _tile_stored(3, next + 16, r.ld_acc);
}

inline void one_row_group(const Rows& r, const uint16_t* b, int64_t k, bool add) {
  if (add) {
    _tile_loadd(0, r.acc, r.ld_acc);
    _tile_loadd(1, r.acc + 16, r.ld_acc);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  for (int64_t i = 0; i < k; i += kBf16Depth, b += kPanelTile) {
    _tile_loadd(4, r.a + i, r.lda);
    _tile_loadd(6, b, kStep);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 32, kStep);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, r.acc, r.ld_acc);
  _tile_stored(1, r.acc + 16, r.ld_acc);
}

void multiply(const Bf16Block& g) {
  configure_tiles();
  const auto rows = g.rows > 16 ? two_row_groups : one_row_group;
  for (int64_t p = 0; p < g.panels; ++p) {
    rows({g.a, g.lda * 2, g.acc + p * kBf16Columns, g.ld_acc * 4}, g.b + p * g.k * kBf16Columns,
         g.k, g.add);
  }
  _tile_release();
}

}  // namespace

const Bf16Dot kBf16Amx = {"amx", multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
