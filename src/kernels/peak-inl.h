// The most that a core can do in f32, to hold the GEMM against. Included once for each instruction
// set (kernels.cc).

#if defined(TAMIS_KERNELS_PEAK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_PEAK_INL_H_
#undef TAMIS_KERNELS_PEAK_INL_H_
#else
#define TAMIS_KERNELS_PEAK_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

// Twelve chains: a core starts two multiply-adds a cycle at most and ends each in four or five.
HWY_NOINLINE double fma_loop() {
  constexpr int kChains = 12;
  constexpr int kSteps = 20000;
  const FloatTag d;
  volatile float half = 0.5f;  // volatile: the compiler must not work the sums out by itself
  const FloatVec factor = hn::Set(d, half), addend = hn::Set(d, 2 * half);
  FloatVec sums[kChains];
  HWY_UNROLL(12)
  for (int i = 0; i < kChains; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  for (int step = 0; step < kSteps; ++step) {
    HWY_UNROLL(12)
    for (int i = 0; i < kChains; ++i) sums[i] = hn::MulAdd(sums[i], factor, addend);
  }
  HWY_UNROLL(12)
  for (int i = 1; i < kChains; ++i) sums[0] = hn::Add(sums[0], sums[i]);
  volatile float keep = hn::GetLane(sums[0]);
  (void)keep;
  return 2.0 * kChains * kSteps * static_cast<double>(hn::Lanes(d));
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
