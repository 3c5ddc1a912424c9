// LayerNorm and small vector helpers. Included once for each instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_ELEMENTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_ELEMENTWISE_INL_H_
#undef TAMIS_KERNELS_ELEMENTWISE_INL_H_
#else
#define TAMIS_KERNELS_ELEMENTWISE_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>

#include "kernels/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

/// Calls vector_body(i) for whole vectors of [0, n), then scalar_body(i) for the rest.
template <class VectorBody, class ScalarBody>
HWY_INLINE void for_each(int64_t n, const VectorBody& vector_body, const ScalarBody& scalar_body) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) vector_body(i);
  for (; i < n; ++i) scalar_body(i);
}

HWY_INLINE float sum_of(FloatVec v) {
  const FloatTag d;
  return hn::GetLane(hn::SumOfLanes(d, v));
}

HWY_INLINE void layer_norm(const float* x, const float* residual, const float* gamma,
                           const float* beta, float eps, int64_t n, float* y, float* stats) {
  const FloatTag d;
  FloatVec vsum = hn::Zero(d);
  float sum = 0;
  for_each(
      n,
      [&](int64_t i) HWY_ATTR {
        FloatVec v = hn::LoadU(d, x + i);
        if (residual != nullptr) v = hn::Add(v, hn::LoadU(d, residual + i));
        hn::StoreU(v, d, y + i);
        vsum = hn::Add(vsum, v);
      },
      [&](int64_t i) HWY_ATTR {
        y[i] = residual != nullptr ? x[i] + residual[i] : x[i];
        sum += y[i];
      });
  const float mean = (sum + sum_of(vsum)) / static_cast<float>(n);
  const FloatVec vmean = hn::Set(d, mean);
  FloatVec vsquares = hn::Zero(d);
  float squares = 0;
  for_each(
      n,
      [&](int64_t i) HWY_ATTR {
        const FloatVec c = hn::Sub(hn::LoadU(d, y + i), vmean);
        vsquares = hn::MulAdd(c, c, vsquares);
      },
      [&](int64_t i) HWY_ATTR { squares += (y[i] - mean) * (y[i] - mean); });
  const float variance = (squares + sum_of(vsquares)) / static_cast<float>(n);
  const float scale = 1.0f / std::sqrt(variance + eps);
  if (stats != nullptr) stats[0] = mean, stats[1] = scale;
  const FloatVec vscale = hn::Set(d, scale);
  for_each(
      n,
      [&](int64_t i) HWY_ATTR {
        const FloatVec c = hn::Mul(hn::Sub(hn::LoadU(d, y + i), vmean), vscale);
        hn::StoreU(hn::MulAdd(c, hn::LoadU(d, gamma + i), hn::LoadU(d, beta + i)), d, y + i);
      },
      [&](int64_t i) HWY_ATTR { y[i] = (y[i] - mean) * scale * gamma[i] + beta[i]; });
}

HWY_INLINE void add(const float* x, int64_t n, float* y) {
  const FloatTag d;
  for_each(
      n,
      [&](int64_t i)
          HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i); },
      [&](int64_t i) HWY_ATTR { y[i] += x[i]; });
}

HWY_INLINE void scale(float s, int64_t n, float* y) {
  const FloatTag d;
  const FloatVec vs = hn::Set(d, s);
  for_each(
      n, [&](int64_t i) HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, y + i), vs), d, y + i); },
      [&](int64_t i) HWY_ATTR { y[i] *= s; });
}

HWY_INLINE float dot(const float* a, const float* b, int64_t n) {
  const FloatTag d;
  FloatVec vsum = hn::Zero(d);
  float sum = 0;
  for_each(
      n,
      [&](int64_t i)
          HWY_ATTR { vsum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), vsum); },
      [&](int64_t i) HWY_ATTR { sum += a[i] * b[i]; });
  return sum + sum_of(vsum);
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
