#include "fma_peak.h"

#include "kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "fma_peak.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Twelve chains: a core starts two multiply-adds a cycle at most and ends each in four or five.
double fma_loop() {
  constexpr int kChains = 12;
  constexpr int kSteps = 20000;
  const hn::ScalableTag<float> d;
  volatile float half = 0.5f;  // volatile: the compiler must not work the sums out by itself
  const auto factor = hn::Set(d, half), addend = hn::Set(d, 2 * half);
  hn::Vec<decltype(d)> sums[kChains];
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

}  // namespace bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bench {
HWY_EXPORT(fma_loop);
}

FmaLoop find_fma_loop(std::string_view isa) {
  // supported_tables() lists the targets in Highway's order, as this loop does; those that differ
  // in int8 alone share their f32 functions and stand together.
  const auto tables = tamis::kernels::supported_tables();
  size_t i = 0;
  for (int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0 && i < tables.size();
       targets &= targets - 1) {
    bool wanted = false;
    for (const auto gemm = tables[i]->gemm; i < tables.size() && tables[i]->gemm == gemm; ++i) {
      wanted = wanted || tables[i]->isa == isa;
    }
    if (!wanted) continue;
    hwy::ChosenTarget chosen;
    chosen.Update(targets & -targets);
    return bench::HWY_DISPATCH_TABLE(fma_loop)[chosen.GetIndex()];
  }
  return nullptr;
}
#endif
