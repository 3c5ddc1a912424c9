#include <immintrin.h>

#include <hwy/base.h>

#include <array>
#include <cstring>
#include <utility>

#include "kernels/bf16_dot.h"

HWY_PUSH_ATTRIBUTES("avx512f,avx512bf16")

namespace tamis::kernels {
namespace {

// 12 rows of two vectors: 24 of the 32 registers are sums, and enough of them are independent to
// hide the latency of the product.
constexpr int kRows = 12;

inline __m512bh pair_of(const uint16_t* a) {
  int both = 0;
  std::memcpy(&both, a, sizeof both);
  return (__m512bh)_mm512_set1_epi32(both);
}

/// kCount rows of A and one panel of B.
template <int kCount>
void row_group(const Bf16Block& g, int64_t row, int64_t panel) {
  const uint16_t* a = g.a + row * g.lda;
  const uint16_t* b = g.b + panel * g.k * kBf16Columns;
  float* acc = g.acc + row * g.ld_acc + panel * kBf16Columns;
  __m512 sums[kCount][2];
  for (int r = 0; r < kCount; ++r) {
    for (int c = 0; c < 2; ++c) {
      sums[r][c] = g.add ? _mm512_load_ps(acc + r * g.ld_acc + 16 * c) : _mm512_setzero_ps();
    }
  }
  for (int64_t i = 0; i < g.k; i += 2, b += 2 * kBf16Columns) {
    const auto left = (__m512bh)_mm512_load_si512(b);
    const auto right = (__m512bh)_mm512_load_si512(b + 32);
#pragma GCC unroll 12
    for (int r = 0; r < kCount; ++r) {
      const __m512bh both = pair_of(a + r * g.lda + i);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], both, left);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], both, right);
    }
  }
  for (int r = 0; r < kCount; ++r) {
    for (int c = 0; c < 2; ++c) _mm512_store_ps(acc + r * g.ld_acc + 16 * c, sums[r][c]);
  }
}

using RowGroup = void (*)(const Bf16Block&, int64_t, int64_t);

template <int... kCounts>
constexpr std::array<RowGroup, sizeof...(kCounts)> row_groups(
    std::integer_sequence<int, kCounts...>) {
  return {row_group<kCounts + 1>...};
}

void multiply(const Bf16Block& g) {
  static constexpr auto kGroups = row_groups(std::make_integer_sequence<int, kRows>());
  for (int64_t panel = 0; panel < g.panels; ++panel) {
    for (int64_t row = 0; row < g.rows; row += kRows) {
      const int64_t count = g.rows - row < kRows ? g.rows - row : kRows;
      kGroups[static_cast<size_t>(count - 1)](g, row, panel);
    }
  }
}

}  // namespace

const Bf16Dot kBf16Avx512 = {"avx512_bf16", multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
