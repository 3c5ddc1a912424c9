// f32 GEMM on packed weights, and the register tile that attention shares. Included once for each
// instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_GEMM_INL_H_
#undef TAMIS_KERNELS_GEMM_INL_H_
#else
#define TAMIS_KERNELS_GEMM_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;

// A tile is kMr rows of two vectors: 12 accumulators of 16 registers (AVX2, SSE4), 24 of 32
// (AVX-512). Two vectors a row let one broadcast of A feed two multiplications.
constexpr int kMr = HWY_TARGET <= HWY_AVX3 ? 12 : 6;
constexpr size_t kCacheLine = 64;
HWY_INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
HWY_INLINE int64_t panel_width() { return 2 * static_cast<int64_t>(hn::Lanes(FloatTag())); }

// Weights come from L3 or from memory. Left to the hardware they came late: on an AMD Zen 4, 64 to
// 512 rows ran at 0.85-0.95 of the core's peak without Ahead and at 0.94-0.98 with it.
struct Ahead {
  const std::byte* next;
  int64_t step;  ///< bytes to go on for each k
};

HWY_INLINE FloatVec load_wide(const float* p) { return hn::LoadU(FloatTag(), p); }
template <class Half>
HWY_INLINE FloatVec load_wide(const Half* p) {
  return hn::PromoteTo(FloatTag(), hn::LoadU(hn::Rebind<Half, FloatTag>(), p));
}

/// acc[r] += A[r, 0..k) * B[0..k, two vectors]; B rows are panel_width() apart. B of 16 bits is
/// widened on its way, and kept at `keep` if that is not null.
template <int kRows, bool kFetch = false, class Stored = float>
HWY_INLINE void multiply_tile(int64_t k, const float* HWY_RESTRICT a, int64_t lda,
                              const Stored* HWY_RESTRICT b, FloatVec (&lo)[kRows],
                              FloatVec (&hi)[kRows], Ahead ahead = {nullptr, 0},
                              float* keep = nullptr) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < k; ++i) {
    const FloatVec b_lo = load_wide(b);
    const FloatVec b_hi = load_wide(b + lanes);
    b += 2 * lanes;
    if (sizeof(Stored) < sizeof(float) && keep != nullptr) {
      hn::StoreU(b_lo, d, keep);
      hn::StoreU(b_hi, d, keep + lanes);
      keep += 2 * lanes;
    }
    if constexpr (kFetch) {
      hwy::Prefetch(ahead.next);
      if (lanes * sizeof(float) >= kCacheLine) hwy::Prefetch(ahead.next + kCacheLine);
      ahead.next += ahead.step;
    }
    HWY_UNROLL(12)
    for (int r = 0; r < kRows; ++r) {
      const FloatVec a_r = hn::Set(d, a[r * lda + i]);
      lo[r] = hn::MulAdd(a_r, b_lo, lo[r]);
      hi[r] = hn::MulAdd(a_r, b_hi, hi[r]);
    }
  }
}

/// Calls body.template operator()<n>() for the n = rows of 1..kMr.
template <int kRows = kMr, class Body>
HWY_INLINE void with_rows(int64_t rows, const Body& body) {
  if (rows == kRows) {
    body.template operator()<kRows>();
  } else if constexpr (kRows > 1) {
    with_rows<kRows - 1>(rows, body);
  }
}

/// Rows of the next tile such that the tiles of `rows` differ by at most one row: a tail of one row
/// costs as much time as a full tile.
HWY_INLINE int64_t even_tile(int64_t rows) {
  const int64_t tiles = (rows + kMr - 1) / kMr;
  return (rows + tiles - 1) / tiles;
}

// Where one pass over k stands: the first starts from zero, the others (and all, where C is added
// to) from C; the last one adds bias and activation.
struct Pass {
  bool first;
  bool last;
};

template <int kRows, class Stored>
HWY_INLINE void gemm_tile(const GemmArgs& g, Pass pass, int64_t depth, const float* a, int64_t lda,
                          const Stored* b, Ahead ahead, int64_t col, float* c, float* keep) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  FloatVec lo[kRows], hi[kRows];
  const int64_t valid = std::min(2 * lanes, g.cols - col);
  HWY_ALIGN float edge[2 * HWY_MAX_BYTES / sizeof(float)];  // C rows narrower than the panel
  HWY_UNROLL(12)
  for (int r = 0; r < kRows; ++r) {
    if (pass.first) {
      lo[r] = hi[r] = hn::Zero(d);
    } else {
      const float* from = c + r * g.ldc;
      if (valid < 2 * lanes) {
        std::memcpy(edge, from, static_cast<size_t>(valid) * sizeof(float));
        from = edge;
      }
      lo[r] = hn::LoadU(d, from);
      hi[r] = hn::LoadU(d, from + lanes);
    }
  }
  // With fewer rows memory is the limit, and asking twice costs more than it brings.
  multiply_tile<kRows, (kRows >= kMr / 2)>(depth, a, lda, b, lo, hi, ahead, keep);
  const FloatVec bias_lo = hn::LoadU(d, g.bias + col);
  const FloatVec bias_hi = hn::LoadU(d, g.bias + col + lanes);
  HWY_UNROLL(12)
  for (int r = 0; r < kRows; ++r) {
    if (pass.last) {
      lo[r] = activate(d, g.activation, hn::Add(lo[r], bias_lo));
      hi[r] = activate(d, g.activation, hn::Add(hi[r], bias_hi));
    }
    float* to = valid < 2 * lanes ? edge : c + r * g.ldc;
    hn::StoreU(lo[r], d, to);
    hn::StoreU(hi[r], d, to + lanes);
    if (valid < 2 * lanes) {
      std::memcpy(c + r * g.ldc, edge, static_cast<size_t>(valid) * sizeof(float));
    }
  }
}

// Depth of one pass over k, and rows of a block: kBlockRows x kDepth floats of A and the slices of
// two panels, one at work and one on its way, stay in L2 together: 192 + 2 x 64 KiB with AVX2,
// where L2 may be 512 KiB, 384 + 2 x 128 KiB with AVX-512, where it has 1 MiB and more.
// Measured on Zen 3 and Zen 4: less depth with more rows was slower.
constexpr int64_t kDepth = 1024;
constexpr int64_t kBlockRows = 8 * kMr;
// A block of one tile reads each weight once: it asks for those this many bytes further on.
constexpr int64_t kNear = 4096;
// Rows of the copied A lie this far apart, so that they do not share cache sets.
constexpr int64_t kDepthStride = kDepth + 16;

HWY_INLINE void to_f32(DType dtype, const std::byte* src, int64_t n, float* dst) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  // Without F16C, Highway 1.0.3 converts f16 by arithmetic that turns infinity into 65536, which
  // would hide damaged weights; the scalar code below is exact everywhere.
  if (dtype == DType::kF16 && HWY_TARGET <= HWY_AVX2) {
    const hn::Rebind<hwy::float16_t, FloatTag> dh;
    const auto* from = reinterpret_cast<const hwy::float16_t*>(src);
    for (; i + lanes <= n; i += lanes)
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, from + i)), d, dst + i);
  } else if (dtype == DType::kBF16) {
    const hn::Rebind<hwy::bfloat16_t, FloatTag> db;
    const auto* from = reinterpret_cast<const hwy::bfloat16_t*>(src);
    for (; i + lanes <= n; i += lanes)
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(db, from + i)), d, dst + i);
  }
  convert_to_f32(dtype, src + static_cast<size_t>(i) * size_of(dtype), dst + i,
                 static_cast<size_t>(n - i));
}

HWY_INLINE size_t gemm_scratch(int64_t rows, int64_t) {
  return static_cast<size_t>(std::min(rows, kBlockRows) * kDepthStride + kDepth * panel_width());
}

/// Where the weights of one pass over a panel are stored.
HWY_INLINE const std::byte* stored_slice(const GemmArgs& g, int64_t panel, int64_t k0) {
  return g.packed + (panel * g.k + k0) * panel_width() * static_cast<int64_t>(size_of(g.dtype));
}

/// What the tiles of a block ask for while they work on a slice: the slice that is used next,
/// shared out among them, so that it is there when they are done. A single tile asks for what it
/// reads itself.
HWY_INLINE Ahead plan_ahead(const GemmArgs& g, const std::byte* slice, const std::byte* next_slice,
                            int64_t rows) {
  const int64_t tiles = (rows + kMr - 1) / kMr;
  const int64_t row_bytes = panel_width() * static_cast<int64_t>(size_of(g.dtype));
  if (tiles == 1) return {slice + kNear, row_bytes};
  return {next_slice, row_bytes / tiles};
}

/// The rows of a block, from `a` on, times a slice of a panel. Of weights of 16 bits the first tile
/// leaves what it widened in `wide` for the others.
template <class Stored>
HWY_INLINE void multiply_block(const GemmArgs& g, Pass pass, int64_t depth, int64_t row0,
                               int64_t rows, int64_t panel, const float* a, const Stored* b,
                               Ahead ahead, float* wide) {
  const int64_t col = panel * panel_width();
  const int64_t first = even_tile(rows);
  float* c = g.c + row0 * g.ldc + col;
  with_rows(first, [&]<int kRows>() HWY_ATTR {
    gemm_tile<kRows>(g, pass, depth, a, kDepthStride, b, ahead, col, c,
                     rows > first ? wide : nullptr);
  });
  const float* rest = reinterpret_cast<const float*>(b);
  if (sizeof(Stored) < sizeof(float)) rest = wide;
  for (int64_t r = first; r < rows;) {
    ahead.next += ahead.step * depth;
    const int64_t n = even_tile(rows - r);
    with_rows(n, [&]<int kRows>() HWY_ATTR {
      gemm_tile<kRows>(g, pass, depth, a + r * kDepthStride, kDepthStride, rest, ahead, col,
                       c + r * g.ldc, nullptr);
    });
    r += n;
  }
}

/// The same for weights of any floating type.
HWY_INLINE void multiply_stored(const GemmArgs& g, Pass pass, int64_t depth, int64_t row0,
                                int64_t rows, int64_t panel, const float* a, const std::byte* slice,
                                Ahead ahead, float* wide) {
  if (g.dtype == DType::kF32) {
    return multiply_block(g, pass, depth, row0, rows, panel, a,
                          reinterpret_cast<const float*>(slice), ahead, wide);
  }
  if (g.dtype == DType::kBF16) {
    return multiply_block(g, pass, depth, row0, rows, panel, a,
                          reinterpret_cast<const hwy::bfloat16_t*>(slice), ahead, wide);
  }
  if constexpr (HWY_TARGET <= HWY_AVX2) {
    multiply_block(g, pass, depth, row0, rows, panel, a,
                   reinterpret_cast<const hwy::float16_t*>(slice), ahead, wide);
  } else {  // see to_f32
    to_f32(g.dtype, slice, depth * panel_width(), wide);
    multiply_block<float>(g, pass, depth, row0, rows, panel, a, wide, ahead, wide);
  }
}

/// `scratch` holds the block's rows of A, and weights of 16 bits widened, once for all its rows.
HWY_NOINLINE void gemm(const GemmArgs& g, float* scratch) {
  float* wide = scratch + std::min(g.rows, kBlockRows) * kDepthStride;
  for (int64_t row0 = 0; row0 < g.rows; row0 += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, g.rows - row0);
    for (int64_t k0 = 0; k0 < g.k; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, g.k - k0);
      const Pass pass{k0 == 0 && !g.accumulate, k0 + depth == g.k};
      const std::byte* after_pass = stored_slice(g, g.panel_begin, pass.last ? 0 : k0 + depth);
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(scratch + r * kDepthStride, g.a + (row0 + r) * g.lda + k0,
                    static_cast<size_t>(depth) * sizeof(float));
      }
      for (int64_t p = g.panel_begin; p < g.panel_end; ++p) {
        const std::byte* slice = stored_slice(g, p, k0);
        const Ahead ahead = plan_ahead(
            g, slice, p + 1 < g.panel_end ? stored_slice(g, p + 1, k0) : after_pass, rows);
        multiply_stored(g, pass, depth, row0, rows, p, scratch, slice, ahead, wide);
      }
    }
  }
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
