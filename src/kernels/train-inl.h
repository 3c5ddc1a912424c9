// What training needs beside the GEMM: derivatives, softmax, the optimiser. Included once for each
// instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_TRAIN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_TRAIN_INL_H_
#undef TAMIS_KERNELS_TRAIN_INL_H_
#else
#define TAMIS_KERNELS_TRAIN_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/elementwise-inl.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

/// Calls body(i, vectors loaded from the inputs at i), and stores what it returns at y + i; the
/// rest that fills no vector goes through a copy of it, so that every element is computed alike.
template <class Body, class... Input>
HWY_INLINE void map_row(int64_t n, float* y, const Body& body, const Input*... inputs) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(body(hn::LoadU(d, inputs + i)...), d, y + i);
  if (i == n) return;
  const auto rest = static_cast<size_t>(n - i);
  const auto load = [&](const float* p) HWY_ATTR {
    HWY_ALIGN float copy[HWY_MAX_BYTES / sizeof(float)] = {};
    std::memcpy(copy, p + i, rest * sizeof(float));
    return hn::Load(d, copy);
  };
  HWY_ALIGN float out[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(body(load(inputs)...), d, out);
  std::memcpy(y + i, out, rest * sizeof(float));
}

HWY_INLINE void activate_row(Activation f, const float* x, int64_t n, float* y) {
  map_row(
      n, y, [&](FloatVec v) HWY_ATTR { return activate(FloatTag(), f, v); }, x);
}

/// Phi(x) + x phi(x); the tail as in gelu (math-inl.h).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_derivative(D d, V x) {
  const V ax = hn::Min(hn::Abs(x), hn::Set(d, 6.0f));
  const V half_tail = half_erfc(d, ax);
  const V below =
      hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half_tail, hn::Sub(hn::Set(d, 1.0f), half_tail));
  const V density =
      hn::Mul(hn::Set(d, 0.3989422804f), exp(d, hn::Mul(hn::Set(d, -0.5f), hn::Mul(x, x))));
  return hn::MulAdd(x, density, below);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V derivative(D d, Activation f, V x) {
  const V one = hn::Set(d, 1.0f);
  switch (f) {
    case Activation::kGelu:
      return gelu_derivative(d, x);
    case Activation::kTanh: {
      const V y = tanh(d, x);
      return hn::NegMulAdd(y, y, one);
    }
    case Activation::kRelu:
      return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), one);
    case Activation::kNone:
      break;
  }
  return one;
}

/// d_x = f'(x) d_y
HWY_INLINE void activate_backward(Activation f, const float* x, const float* d_y, int64_t n,
                                  float* d_x) {
  map_row(
      n, d_x,
      [&](FloatVec v, FloatVec d) HWY_ATTR { return hn::Mul(derivative(FloatTag(), f, v), d); }, x,
      d_y);
}

/// row = softmax(factor row)
HWY_INLINE void softmax(float* row, int64_t n, float factor) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  FloatVec vmax = hn::Set(d, -std::numeric_limits<float>::infinity());
  float most = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) vmax = hn::Max(vmax, hn::LoadU(d, row + i));
  for (; i < n; ++i) most = std::max(most, row[i]);
  most = std::max(most, hn::GetLane(hn::MaxOfLanes(d, vmax)));
  const FloatVec shift = hn::Set(d, most), vfactor = hn::Set(d, factor);
  map_row(
      n, row,
      [&](FloatVec v) HWY_ATTR { return exp(FloatTag(), hn::Mul(hn::Sub(v, shift), vfactor)); },
      row);
  FloatVec vsum = hn::Zero(d);
  float sum = 0;
  for_each(
      n, [&](int64_t k) HWY_ATTR { vsum = hn::Add(vsum, hn::LoadU(d, row + k)); },
      [&](int64_t k) HWY_ATTR { sum += row[k]; });
  scale(1.0f / (sum + sum_of(vsum)), n, row);
}

/// d_p = (dropped d_p - p through) scale
HWY_INLINE void softmax_backward(const float* p, const float* dropped, float through, float scale,
                                 int64_t n, float* d_p) {
  const FloatTag d;
  const FloatVec vthrough = hn::Set(d, through), vscale = hn::Set(d, scale);
  map_row(
      n, d_p,
      [&](FloatVec vp, FloatVec kept, FloatVec grad)
          HWY_ATTR { return hn::Mul(vscale, hn::NegMulAdd(vp, vthrough, hn::Mul(kept, grad))); },
      p, dropped, d_p);
}

/// One row: d_x, and what it adds to d_gamma and d_beta.
HWY_INLINE void layer_norm_backward(const float* d_y, const float* x, float mean, float rstd,
                                    const float* gamma, int64_t n, float* d_x, float* d_gamma,
                                    float* d_beta) {
  const FloatTag d;
  const FloatVec vmean = hn::Set(d, mean), vrstd = hn::Set(d, rstd);
  FloatVec vsum = hn::Zero(d), vsum_hat = hn::Zero(d);
  float sum = 0, sum_hat = 0;
  for_each(
      n,
      [&](int64_t i) HWY_ATTR {
        const FloatVec dy = hn::LoadU(d, d_y + i);
        const FloatVec hat = hn::Mul(hn::Sub(hn::LoadU(d, x + i), vmean), vrstd);
        const FloatVec g = hn::Mul(dy, hn::LoadU(d, gamma + i));
        vsum = hn::Add(vsum, g);
        vsum_hat = hn::MulAdd(g, hat, vsum_hat);
        hn::StoreU(hn::MulAdd(dy, hat, hn::LoadU(d, d_gamma + i)), d, d_gamma + i);
        hn::StoreU(hn::Add(dy, hn::LoadU(d, d_beta + i)), d, d_beta + i);
      },
      [&](int64_t i) HWY_ATTR {
        const float hat = (x[i] - mean) * rstd;
        sum += d_y[i] * gamma[i];
        sum_hat += d_y[i] * gamma[i] * hat;
        d_gamma[i] += d_y[i] * hat;
        d_beta[i] += d_y[i];
      });
  const float part = 1.0f / static_cast<float>(n);
  const FloatVec m = hn::Set(d, (sum + sum_of(vsum)) * part);
  const FloatVec m_hat = hn::Set(d, (sum_hat + sum_of(vsum_hat)) * part);
  map_row(
      n, d_x,
      [&](FloatVec dy, FloatVec v, FloatVec gam) HWY_ATTR {
        const FloatVec hat = hn::Mul(hn::Sub(v, vmean), vrstd);
        const FloatVec centred = hn::NegMulAdd(hat, m_hat, hn::MulSub(dy, gam, m));
        return hn::Mul(vrstd, centred);
      },
      d_y, x, gamma);
}

HWY_INLINE void adamw(const AdamWArgs& a, int64_t n) {
  const FloatTag d;
  const FloatVec scale = hn::Set(d, a.gradient_scale);
  const FloatVec beta1 = hn::Set(d, a.beta1), rest1 = hn::Set(d, 1.0f - a.beta1);
  const FloatVec beta2 = hn::Set(d, a.beta2), rest2 = hn::Set(d, 1.0f - a.beta2);
  const FloatVec root = hn::Set(d, a.second_correction), eps = hn::Set(d, a.epsilon);
  const FloatVec step = hn::Set(d, a.step_size), keep = hn::Set(d, a.kept_weight);
  const auto first = [&](FloatVec m, FloatVec g) HWY_ATTR {
    return hn::MulAdd(beta1, m, hn::Mul(rest1, hn::Mul(g, scale)));
  };
  const auto second = [&](FloatVec v, FloatVec g) HWY_ATTR {
    const FloatVec scaled = hn::Mul(g, scale);
    return hn::MulAdd(beta2, v, hn::Mul(rest2, hn::Mul(scaled, scaled)));
  };
  const auto weight = [&](FloatVec w, FloatVec m, FloatVec v) HWY_ATTR {
    const FloatVec divisor = hn::MulAdd(hn::Sqrt(v), root, eps);
    return hn::NegMulAdd(step, hn::Div(m, divisor), hn::Mul(w, keep));
  };
  map_row(n, a.first, first, a.first, a.gradient);
  map_row(n, a.second, second, a.second, a.gradient);
  map_row(n, a.weight, weight, a.weight, a.first, a.second);
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
