// Fused attention of one head of one sequence. Included once for each instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_ATTENTION_INL_H_
#undef TAMIS_KERNELS_ATTENTION_INL_H_
#else
#define TAMIS_KERNELS_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "kernels/elementwise-inl.h"
#include "kernels/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

// Keys are taken kKeyBlock at a time: K^T and V of a block (2 x 512 x 64 floats) stay in L2, and
// memory does not grow with keys^2. Between blocks the softmax is corrected online: each row keeps
// its maximum so far and the sum of its exponentials.
constexpr int64_t kKeyBlock = 512;

// Parts of the scratch, in floats.
struct AttentionScratch {
  float* keys;     ///< [key panels][head_dim][nr]: K^T of the block
  float* values;   ///< [dim panels][keys][nr]
  float* scores;   ///< [kMr][kKeyBlock rounded up]
  float* maximum;  ///< [queries]
  float* sum;      ///< [queries]

  static int64_t block(int64_t keys) { return round_up(std::min(keys, kKeyBlock), panel_width()); }
  static size_t size(int64_t queries, int64_t keys, int64_t head_dim) {
    const int64_t b = block(keys);
    return static_cast<size_t>(b * head_dim + b * round_up(head_dim, panel_width()) + kMr * b +
                               2 * queries);
  }
  AttentionScratch(float* p, int64_t queries, int64_t keys_count, int64_t head_dim) {
    const int64_t b = block(keys_count);
    keys = p;
    values = keys + b * head_dim;
    scores = values + b * round_up(head_dim, panel_width());
    maximum = scores + kMr * b;
    sum = maximum + queries;
  }
};

HWY_INLINE size_t attention_scratch(int64_t queries, int64_t keys, int64_t head_dim) {
  return AttentionScratch::size(queries, keys, head_dim);
}

HWY_INLINE void pack_keys(const float* k, int64_t stride, int64_t keys, int64_t head_dim,
                          float* out) {
  const int64_t nr = panel_width();
  for (int64_t k0 = 0; k0 < keys; k0 += nr, out += head_dim * nr) {
    const int64_t n = std::min(nr, keys - k0);
    for (int64_t i = 0; i < head_dim; ++i) {
      float* to = out + i * nr;
      for (int64_t j = 0; j < n; ++j) to[j] = k[(k0 + j) * stride + i];
      for (int64_t j = n; j < nr; ++j) to[j] = 0.0f;
    }
  }
}

HWY_INLINE void pack_values(const float* v, int64_t stride, int64_t keys, int64_t head_dim,
                            float* out) {
  const int64_t nr = panel_width();
  for (int64_t d0 = 0; d0 < head_dim; d0 += nr) {
    const int64_t n = std::min(nr, head_dim - d0);
    for (int64_t j = 0; j < keys; ++j, out += nr) {
      std::copy_n(v + j * stride + d0, n, out);
      std::fill(out + n, out + nr, 0.0f);
    }
  }
}

/// scores[r, 0..keys) = Q[r] K^T, the padding up to a whole panel set to -inf.
template <int kRows>
HWY_INLINE void score_rows(const AttentionArgs& a, const float* q, const AttentionScratch& s,
                           int64_t keys, int64_t stride) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t k0 = 0; k0 < keys; k0 += 2 * lanes) {
    FloatVec lo[kRows], hi[kRows];
    HWY_UNROLL(12)
    for (int r = 0; r < kRows; ++r) lo[r] = hi[r] = hn::Zero(d);
    multiply_tile<kRows>(a.head_dim, q, a.q_stride, s.keys + k0 * a.head_dim, lo, hi);
    HWY_UNROLL(12)
    for (int r = 0; r < kRows; ++r) {
      hn::StoreU(lo[r], d, s.scores + r * stride + k0);
      hn::StoreU(hi[r], d, s.scores + r * stride + k0 + lanes);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    std::fill(s.scores + r * stride + keys, s.scores + r * stride + round_up(keys, 2 * lanes),
              -std::numeric_limits<float>::infinity());
  }
}

/// Turns a row of scores into e^(scale (s - max)); returns by how much earlier sums shrink.
HWY_INLINE float softmax_row(float* row, int64_t n, float scale, bool first, float* maximum,
                             float* sum) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  FloatVec vmax = hn::Set(d, first ? -std::numeric_limits<float>::infinity() : *maximum);
  for (int64_t i = 0; i < n; i += lanes) vmax = hn::Max(vmax, hn::LoadU(d, row + i));
  vmax = hn::MaxOfLanes(d, vmax);
  const FloatVec vscale = hn::Set(d, scale);
  FloatVec vsum = hn::Zero(d);
  for (int64_t i = 0; i < n; i += lanes) {
    const FloatVec e = exp(d, hn::Mul(hn::Sub(hn::LoadU(d, row + i), vmax), vscale));
    hn::StoreU(e, d, row + i);
    vsum = hn::Add(vsum, e);
  }
  float shrink = 0.0f;
  if (!first) {
    shrink = hn::GetLane(exp(d, hn::Mul(hn::Sub(hn::Set(d, *maximum), vmax), vscale)));
  }
  *maximum = hn::GetLane(vmax);
  *sum = (first ? 0.0f : *sum * shrink) + sum_of(vsum);
  return shrink;
}

/// out[r] = (out[r] * shrink[r] + P[r] V) * factor[r]
template <int kRows>
HWY_INLINE void weigh_values(const AttentionArgs& a, const AttentionScratch& s, int64_t keys,
                             int64_t stride, const float* shrink, const float* factor, float* out) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float edge[2 * HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t d0 = 0; d0 < a.head_dim; d0 += 2 * lanes) {
    FloatVec lo[kRows], hi[kRows];
    const int64_t valid = std::min(2 * lanes, a.head_dim - d0);
    for (int r = 0; r < kRows; ++r) {
      lo[r] = hi[r] = hn::Zero(d);
      if (shrink[r] == 0.0f) continue;
      std::copy_n(out + r * a.out_stride + d0, valid, edge);
      lo[r] = hn::Mul(hn::Set(d, shrink[r]), hn::LoadU(d, edge));
      hi[r] = hn::Mul(hn::Set(d, shrink[r]), hn::LoadU(d, edge + lanes));
    }
    multiply_tile<kRows>(keys, s.scores, stride, s.values + d0 * keys, lo, hi);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec f = hn::Set(d, factor[r]);
      hn::StoreU(hn::Mul(lo[r], f), d, edge);
      hn::StoreU(hn::Mul(hi[r], f), d, edge + lanes);
      std::copy_n(edge, valid, out + r * a.out_stride + d0);
    }
  }
}

HWY_NOINLINE void attention(const AttentionArgs& a, float* scratch) {
  const AttentionScratch s(scratch, a.queries, a.keys, a.head_dim);
  const int64_t nr = panel_width();
  const int64_t stride = AttentionScratch::block(a.keys);
  for (int64_t k0 = 0; k0 < a.keys; k0 += kKeyBlock) {
    const int64_t keys = std::min(kKeyBlock, a.keys - k0);
    const bool first = k0 == 0;
    const bool last = k0 + keys == a.keys;
    pack_keys(a.k + k0 * a.kv_stride, a.kv_stride, keys, a.head_dim, s.keys);
    pack_values(a.v + k0 * a.kv_stride, a.kv_stride, keys, a.head_dim, s.values);
    for (int64_t q0 = 0; q0 < a.queries;) {
      const int64_t rows = even_tile(a.queries - q0);
      with_rows(rows, [&]<int kRows>() HWY_ATTR {
        score_rows<kRows>(a, a.q + q0 * a.q_stride, s, keys, stride);
        float shrink[kRows], factor[kRows];
        for (int r = 0; r < kRows; ++r) {
          shrink[r] = softmax_row(s.scores + r * stride, round_up(keys, nr), a.scale, first,
                                  s.maximum + q0 + r, s.sum + q0 + r);
          factor[r] = last ? 1.0f / s.sum[q0 + r] : 1.0f;
        }
        weigh_values<kRows>(a, s, keys, stride, shrink, factor, a.out + q0 * a.out_stride);
      });
      q0 += rows;
    }
  }
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
