// Elementary functions on vectors of f32. Included once for each instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_MATH_INL_H_
#undef TAMIS_KERNELS_MATH_INL_H_
#else
#define TAMIS_KERNELS_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include "numeric/activation.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// e^x for x <= 88, at most 1.2e-7 relative; x below -87 gives e^-87, which no caller can tell
/// from 0 (and which is not a slow subnormal).
/// x = n ln2 + r with |r| <= ln2/2; e^r by its Taylor series to r^6 / 720, whose remainder is
/// below 1.3e-7 there. ln2 is taken in two parts, so that n ln2 is exact.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  x = hn::Max(x, hn::Set(d, -87.0f));
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.0f / 720);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, exponent));
}

/// erfc(x / sqrt 2) / 2 = e^-(x p(x)) / 2 for x in [0, 6], with p fitted by tools/fit_functions.py.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V half_erfc(D d, V ax) {
  V p = hn::Set(d, 1.3183957889850717e-06f);
  p = hn::MulAdd(p, ax, hn::Set(d, -1.9447372324066237e-05f));
  p = hn::MulAdd(p, ax, hn::Set(d, 9.112909174291417e-05f));
  p = hn::MulAdd(p, ax, hn::Set(d, 0.00018859193369280547f));
  p = hn::MulAdd(p, ax, hn::Set(d, -0.005022148601710796f));
  p = hn::MulAdd(p, ax, hn::Set(d, 0.0364786833524704f));
  p = hn::MulAdd(p, ax, hn::Set(d, 0.31826692819595337f));
  p = hn::MulAdd(p, ax, hn::Set(d, 0.7978893518447876f));
  return hn::Mul(hn::Set(d, 0.5f), exp(d, hn::Neg(hn::Mul(p, ax))));
}

/// x/2 (1 + erf(x / sqrt 2)), at most 1e-7 absolute beyond the rounding of x itself.
/// = max(x, 0) - |x| half_erfc(|x|); the error is x/2 e^-p dp, small everywhere, and no
/// cancellation happens on the negative side. Beyond 6 the second term is below 6e-9.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu(D d, V x) {
  const V ax = hn::Min(hn::Abs(x), hn::Set(d, 6.0f));
  // Not Max: what that makes of NaN differs between instruction sets, and NaN must stay NaN.
  const V positive = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
  return hn::NegMulAdd(ax, half_erfc(d, ax), positive);
}

/// 1 - 2 / (e^2x + 1), at most 2e-7 absolute.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V clamped = hn::Max(hn::Min(x, hn::Set(d, 20.0f)), hn::Set(d, -20.0f));
  const V e = exp(d, hn::Add(clamped, clamped));
  const V y = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(e, one)));
  return hn::IfThenElse(hn::Eq(x, x), y, x);  // NaN stays NaN
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V activate(D d, Activation activation, V x) {
  switch (activation) {
    case Activation::kGelu:
      return gelu(d, x);
    case Activation::kTanh:
      return tanh(d, x);
    case Activation::kRelu:
      return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
    case Activation::kNone:
      break;
  }
  return x;
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
