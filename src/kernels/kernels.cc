#include "kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention-inl.h"
#include "kernels/elementwise-inl.h"
#include "kernels/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

constexpr std::string_view isa_name() {
  if (HWY_TARGET == HWY_AVX3) return "avx512";
  if (HWY_TARGET == HWY_AVX2) return "avx2";
  if (HWY_TARGET == HWY_SSE4) return "sse4";
  return "baseline";
}

const KernelTable* table() {
  static const KernelTable kTable = {
      isa_name(), kMr,   panel_width(), pack_panel, gemm,   attention,    layer_norm,
      add,        scale, dot,           all_finite, to_f32, gemm_scratch, attention_scratch};
  return &kTable;
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tamis::kernels {

HWY_EXPORT(table);

std::vector<const KernelTable*> supported_tables() {
  std::vector<const KernelTable*> out;
  // Lower bits are better targets. One at a time is made the only choice, so that every table that
  // this CPU can run is reachable, not the best one alone. Highway's own choice is left as it is.
  for (int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0;
       targets &= targets - 1) {
    hwy::ChosenTarget chosen;
    chosen.Update(targets & -targets);
    out.push_back(HWY_DISPATCH_TABLE(table)[chosen.GetIndex()]());
  }
  return out;
}

const KernelTable* find_table(std::string_view isa) {
  for (const KernelTable* t : supported_tables()) {
    if (t->isa == isa) return t;
  }
  return nullptr;
}

}  // namespace tamis::kernels
#endif
