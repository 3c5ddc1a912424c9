// The register tile of an int8 GEMM, for a vector type given by `Isa`. Included by the file of each
// instruction set, inside its HWY_PUSH_ATTRIBUTES: nothing here may be shared between them, and no
// header included from here, whose inline functions would be.
//
// Isa has: Vec, kRows (of the tile), zero(), load(p), broadcast(p) of four bytes to all lanes,
// dot(acc, a, b): acc + a0 b0 + a1 b1 + a2 b2 + a3 b3 in each lane, store(p, v).

namespace tamis::kernels {
namespace {

// Rows of the tile are reached from one pointer for every three: with a pointer each, or with
// products of lda, addresses no longer fit the registers.
template <class Isa, int kRows>
inline void int8_tile(const Int8Block& g, int64_t row, const std::byte* ahead, int64_t step) {
  using Vec = typename Isa::Vec;
  constexpr int64_t kLanes = sizeof(Vec) / sizeof(int32_t);
  constexpr int kPointers = (kRows + 2) / 3;
  Vec lo[kRows], hi[kRows];
  const uint8_t* a[kPointers];
  for (int r = 0; r < kRows; ++r) lo[r] = hi[r] = Isa::zero();
  for (int p = 0; p < kPointers; ++p) a[p] = g.a + (row + 3 * p) * g.lda;
  const int64_t lda = g.lda;
  const int8_t* b = g.b;
  for (int64_t k = 0; k < g.k; k += 4) {
    const Vec b_lo = Isa::load(b), b_hi = Isa::load(b + sizeof(Vec));
    b += 2 * sizeof(Vec);
    __builtin_prefetch(ahead, 0, 2);
    ahead += step;
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Vec a_r = Isa::broadcast(a[r / 3] + r % 3 * lda);
      lo[r] = Isa::dot(lo[r], a_r, b_lo);
      hi[r] = Isa::dot(hi[r], a_r, b_hi);
    }
#pragma GCC unroll 4
    for (int p = 0; p < kPointers; ++p) a[p] += 4;
  }
  int32_t* acc = g.acc + row * g.nr;
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    Isa::store(acc + r * 2 * kLanes, lo[r]);
    Isa::store(acc + r * 2 * kLanes + kLanes, hi[r]);
  }
}

template <class Isa, int kRows = Isa::kRows>
inline void int8_rows(const Int8Block& g, int64_t row, int64_t rows, const std::byte* ahead,
                      int64_t step) {
  if (rows == kRows) {
    int8_tile<Isa, kRows>(g, row, ahead, step);
  } else if constexpr (kRows > 1) {
    int8_rows<Isa, kRows - 1>(g, row, rows, ahead, step);
  }
}

/// Tiles of `rows` that differ by at most one row; what lies ahead is shared out among them.
template <class Isa>
inline void int8_multiply(const Int8Block& g) {
  const int64_t tiles = (g.rows + Isa::kRows - 1) / Isa::kRows;
  const int64_t steps = tiles * (g.k / 4);
  const int64_t step = steps > 0 ? (g.ahead_bytes + steps - 1) / steps : 0;
  const std::byte* ahead = g.ahead;
  for (int64_t row = 0, left = tiles; row < g.rows; --left) {
    const int64_t n = (g.rows - row + left - 1) / left;
    int8_rows<Isa>(g, row, n, ahead, step);
    ahead += step * (g.k / 4);
    row += n;
  }
}

}  // namespace
}  // namespace tamis::kernels
