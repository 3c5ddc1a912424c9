// Fused attention of one head of one sequence, its products in bf16 (bf16_dot.h), its softmax in
// f32. Blocks of keys and the online softmax are those of attention-inl.h. Included once for each
// instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_ATTENTION_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_ATTENTION_BF16_INL_H_
#undef TAMIS_KERNELS_ATTENTION_BF16_INL_H_
#else
#define TAMIS_KERNELS_ATTENTION_BF16_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/attention-inl.h"
#include "kernels/bf16_dot.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

using WordTag = hn::Repartition<uint32_t, FloatTag>;

/// Parts of the scratch; each is aligned to 64 bytes.
struct Bf16AttentionScratch {
  Bf16AttentionScratch(float* p, int64_t query_count, int64_t key_count, int64_t head_dim)
      : dim(round_up(head_dim, kBf16Columns)),
        stride(round_up(std::min(key_count, kKeyBlock), kBf16Columns)),
        scores(p),
        sums(scores + kBf16Rows * stride),
        keys(reinterpret_cast<uint16_t*>(sums + kBf16Rows * dim)),
        values(keys + stride * dim),
        queries(values + stride * dim),
        weights(queries + kBf16Rows * dim),
        maximum(reinterpret_cast<float*>(weights + kBf16Rows * stride)),
        sum(maximum + query_count),
        floats(static_cast<size_t>(sum + query_count - p)) {}
  int64_t dim;        ///< head_dim padded
  int64_t stride;     ///< keys of a block, padded
  float* scores;      ///< [kBf16Rows][stride]
  float* sums;        ///< [kBf16Rows][dim]
  uint16_t* keys;     ///< panels of K^T
  uint16_t* values;   ///< panels of V
  uint16_t* queries;  ///< [kBf16Rows][dim]
  uint16_t* weights;  ///< [kBf16Rows][stride]: the softmax, not yet divided by its sum
  float* maximum;     ///< [query_count]
  float* sum;
  size_t floats;
};

HWY_INLINE size_t attention_bf16_scratch(int64_t queries, int64_t keys, int64_t head_dim) {
  // Offsets only: the pointers are never followed.
  alignas(64) static float origin[1];
  return Bf16AttentionScratch(origin, queries, keys, head_dim).floats;
}

/// Stores the upper halves of two vectors of words, in order.
HWY_INLINE void store_upper_halves(hn::Vec<WordTag> lo, hn::Vec<WordTag> hi, uint16_t* out) {
#if HWY_TARGET == HWY_SCALAR  // has no vectors of two halves
  out[0] = static_cast<uint16_t>(hn::GetLane(lo) >> 16);
  out[1] = static_cast<uint16_t>(hn::GetLane(hi) >> 16);
#else
  const hn::Repartition<uint16_t, FloatTag> d;
  hn::StoreU(hn::ConcatOdd(d, hn::BitCast(d, hi), hn::BitCast(d, lo)), d, out);
#endif
}

/// f32 whose upper half is x as bf16, to nearest, ties to even; NaN stays NaN.
HWY_INLINE hn::Vec<WordTag> round_to_bf16(FloatVec x) {
  const WordTag d;
  const auto bits = hn::BitCast(d, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fffu)));
  return hn::IfThenElse(hn::RebindMask(d, hn::Ne(x, x)), hn::Or(bits, hn::Set(d, 0x400000u)),
                        rounded);
}

/// x[0, n) as bf16, zeros up to `padded`, a multiple of 32.
HWY_INLINE void row_to_bf16(const float* x, int64_t n, int64_t padded, uint16_t* out) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float edge[2 * HWY_MAX_BYTES / sizeof(float)];
  for (int64_t i = 0; i < padded; i += 2 * lanes) {
    const float* from = x + i;
    if (i + 2 * lanes > n) {
      std::fill(edge, edge + 2 * lanes, 0.0f);
      std::copy(x + std::min(i, n), x + n, edge);
      from = edge;
    }
    const auto lo = round_to_bf16(hn::LoadU(d, from));
    const auto hi = round_to_bf16(hn::LoadU(d, from + lanes));
    store_upper_halves(lo, hi, out + i);
  }
}

/// K^T in panels: [keys / 32][dim / 2][32 keys][2], zeros for keys and dimensions that are not.
HWY_INLINE void pack_keys_bf16(const AttentionArgs& a, const float* k, int64_t count,
                               const Bf16AttentionScratch& s) {
  const int64_t pairs = s.dim / 2;
  uint16_t* row = s.queries;  // free until the keys are packed
  for (int64_t j = 0; j < round_up(count, kBf16Columns); ++j) {
    uint16_t* to = s.keys + (j / kBf16Columns * pairs * kBf16Columns + j % kBf16Columns) * 2;
    row_to_bf16(k + std::min(j, count - 1) * a.kv_stride, j < count ? a.head_dim : 0, s.dim, row);
    for (int64_t i = 0; i < pairs; ++i) {
      std::memcpy(to + i * kBf16Columns * 2, row + i * 2, 2 * sizeof(uint16_t));
    }
  }
}

/// V in panels: [dim / 32][keys / 2][32 dimensions][2].
HWY_INLINE void pack_values_bf16(const AttentionArgs& a, const float* v, int64_t count,
                                 const Bf16AttentionScratch& s) {
  const WordTag dw;
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t padded = round_up(count, kBf16Columns);
  HWY_ALIGN float edge[2][HWY_MAX_BYTES / sizeof(float)];
  for (int64_t j = 0; j < padded; j += 2) {
    for (int64_t i = 0; i < s.dim; i += lanes) {
      const float* from[2];
      for (int64_t r = 0; r < 2; ++r) {
        from[r] = v + (j + r) * a.kv_stride + i;
        if (j + r < count && i + lanes <= a.head_dim) continue;
        std::fill(edge[r], edge[r] + lanes, 0.0f);
        if (j + r < count && i < a.head_dim) std::copy_n(from[r], a.head_dim - i, edge[r]);
        from[r] = edge[r];
      }
      // A pair of keys is a word: the first in its lower half.
      const auto even = round_to_bf16(hn::LoadU(d, from[0]));
      const auto odd = round_to_bf16(hn::LoadU(d, from[1]));
      const auto word = hn::Or(hn::ShiftRight<16>(even), hn::And(odd, hn::Set(dw, 0xffff0000u)));
      uint16_t* to = s.values + (i / kBf16Columns * padded / 2 + j / 2) * kBf16Columns * 2;
      hn::StoreU(word, dw, reinterpret_cast<uint32_t*>(to + i % kBf16Columns * 2));
    }
  }
}

/// 2^x for x <= 0, at most 5e-5 relative: bf16 keeps 2e-3. x below -126 gives 2^-126.
HWY_INLINE FloatVec near_exp2(FloatVec x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  x = hn::Max(x, hn::Set(d, -126.0f));
  const FloatVec n = hn::Round(x);
  const FloatVec r = hn::Sub(x, n);
  FloatVec p = hn::Set(d, 9.6181291e-3f);  // ln2^k / k!
  p = hn::MulAdd(p, r, hn::Set(d, 5.5504109e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.4022651e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.9314718e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(di, n));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
}

/// out = 2^(scale (row - max)) as bf16; returns by how much earlier sums shrink, 0 if there are
/// none.
HWY_INLINE float softmax_row_bf16(const float* row, int64_t n, float scale, bool first,
                                  float* maximum, float* sum, uint16_t* out) {
  const FloatTag d;
  const WordTag dw;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const float before = first ? -std::numeric_limits<float>::infinity() : *maximum;
  FloatVec max_lo = hn::Set(d, before), max_hi = max_lo;
  for (int64_t i = 0; i < n; i += 2 * lanes) {
    max_lo = hn::Max(max_lo, hn::Load(d, row + i));
    max_hi = hn::Max(max_hi, hn::Load(d, row + i + lanes));
  }
  const FloatVec vmax = hn::MaxOfLanes(d, hn::Max(max_lo, max_hi));
  const FloatVec vscale = hn::Set(d, scale);
  const FloatVec offset = hn::Mul(vmax, vscale);
  const auto half = hn::Set(dw, 0x8000u);
  FloatVec sum_lo = hn::Zero(d), sum_hi = hn::Zero(d);
  for (int64_t i = 0; i < n; i += 2 * lanes) {
    const FloatVec lo = near_exp2(hn::MulSub(hn::Load(d, row + i), vscale, offset));
    const FloatVec hi = near_exp2(hn::MulSub(hn::Load(d, row + i + lanes), vscale, offset));
    sum_lo = hn::Add(sum_lo, lo);
    sum_hi = hn::Add(sum_hi, hi);
    // To nearest; these are positive and finite, and ties need no care.
    store_upper_halves(hn::Add(hn::BitCast(dw, lo), half), hn::Add(hn::BitCast(dw, hi), half),
                       out + i);
  }
  const float shrink =
      first ? 0.0f : hn::GetLane(near_exp2(hn::MulSub(hn::Set(d, before), vscale, offset)));
  *maximum = hn::GetLane(vmax);
  *sum = (first ? 0.0f : *sum * shrink) + sum_of(hn::Add(sum_lo, sum_hi));
  return shrink;
}

/// to[i] = from[i] * factor
HWY_INLINE void scaled_copy(const float* from, int64_t n, float factor, float* to) {
  const FloatTag d;
  const FloatVec f = hn::Set(d, factor);
  for_each(
      n, [&](int64_t i) HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, from + i), f), d, to + i); },
      [&](int64_t i) HWY_ATTR { to[i] = from[i] * factor; });
}

/// Queries [q0, q0 + rows) against a block of keys. `first`, `last`: of the blocks of these keys.
HWY_INLINE void attend_block(const AttentionArgs& a, const Bf16Dot& dot,
                             const Bf16AttentionScratch& s, int64_t q0, int64_t rows, int64_t keys,
                             bool first, bool last) {
  constexpr float kLog2E = 1.44269504f;
  const int64_t padded = round_up(keys, kBf16Columns);
  for (int64_t r = 0; r < rows; ++r) {
    row_to_bf16(a.q + (q0 + r) * a.q_stride, a.head_dim, s.dim, s.queries + r * s.dim);
  }
  dot.multiply(
      {s.queries, s.dim, rows, s.dim, s.keys, padded / kBf16Columns, s.scores, s.stride, false});
  for (int64_t r = 0; r < rows; ++r) {
    float* row = s.scores + r * s.stride;
    std::fill(row + keys, row + padded, -std::numeric_limits<float>::infinity());
    const float shrink = softmax_row_bf16(row, padded, a.scale * kLog2E, first, s.maximum + q0 + r,
                                          s.sum + q0 + r, s.weights + r * s.stride);
    if (!first) {
      scaled_copy(a.out + (q0 + r) * a.out_stride, a.head_dim, shrink, s.sums + r * s.dim);
    }
  }
  dot.multiply(
      {s.weights, s.stride, rows, padded, s.values, s.dim / kBf16Columns, s.sums, s.dim, !first});
  for (int64_t r = 0; r < rows; ++r) {
    scaled_copy(s.sums + r * s.dim, a.head_dim, last ? 1.0f / s.sum[q0 + r] : 1.0f,
                a.out + (q0 + r) * a.out_stride);
  }
}

HWY_NOINLINE void attention_bf16(const Bf16Dot& dot, const AttentionArgs& a, float* scratch) {
  const Bf16AttentionScratch s(scratch, a.queries, a.keys, a.head_dim);
  // Rows of a group that are no query, and padded dimensions, are read as well.
  std::fill(s.queries, s.queries + kBf16Rows * s.dim, uint16_t{0});
  std::fill(s.weights, s.weights + kBf16Rows * s.stride, uint16_t{0});
  std::fill(s.sums, s.sums + kBf16Rows * s.dim, 0.0f);
  for (int64_t k0 = 0; k0 < a.keys; k0 += kKeyBlock) {
    const int64_t keys = std::min(kKeyBlock, a.keys - k0);
    pack_keys_bf16(a, a.k + k0 * a.kv_stride, keys, s);
    pack_values_bf16(a, a.v + k0 * a.kv_stride, keys, s);
    for (int64_t q0 = 0; q0 < a.queries; q0 += kBf16Rows) {
      attend_block(a, dot, s, q0, std::min(kBf16Rows, a.queries - q0), keys, k0 == 0,
                   k0 + keys == a.keys);
    }
  }
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
