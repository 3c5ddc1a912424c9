#include "kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention-inl.h"
#include "kernels/attention_bf16-inl.h"
#include "kernels/elementwise-inl.h"
#include "kernels/gemm-inl.h"
#include "kernels/gemm_int8-inl.h"
#include "kernels/gemm_pack-inl.h"
#include "kernels/peak-inl.h"
#include "kernels/train-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

constexpr std::string_view isa_name() {
  if (HWY_TARGET == HWY_AVX3) return "avx512";
  if (HWY_TARGET == HWY_AVX2) return "avx2";
  if (HWY_TARGET == HWY_SSE4) return "sse4";
  return "baseline";
}

const KernelTable* table() {
  static const KernelTable kTable = {.isa = isa_name(),
                                     .mr = kMr,
                                     .nr = panel_width(),
                                     .pack_panel = pack_panel,
                                     .pack_int8_panel = pack_int8_panel,
                                     .quantize_row = quantize_row,
                                     .gemm_int8 = gemm_int8,
                                     .gemm = gemm,
                                     .attention = attention,
                                     .attention_bf16 = attention_bf16,
                                     .layer_norm = layer_norm,
                                     .add = add,
                                     .scale = scale,
                                     .dot = dot,
                                     .all_finite = all_finite,
                                     .to_f32 = to_f32,
                                     .activate_row = activate_row,
                                     .activate_backward = activate_backward,
                                     .softmax = softmax,
                                     .softmax_backward = softmax_backward,
                                     .layer_norm_backward = layer_norm_backward,
                                     .adamw = adamw,
                                     .fma_loop = fma_loop,
                                     .gemm_scratch = gemm_scratch,
                                     .gemm_int8_scratch = gemm_int8_scratch,
                                     .attention_scratch = attention_scratch,
                                     .attention_bf16_scratch = attention_bf16_scratch,
                                     .int8 = nullptr,
                                     .bf16 = nullptr};
  return &kTable;
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tamis::kernels {

HWY_EXPORT(table);

Int8Panel::Int8Panel(int64_t inputs, int64_t nr)
    : depth((inputs + kInt8Depth - 1) / kInt8Depth * kInt8Depth),
      slots(max_outlier_columns(inputs)),
      scales(static_cast<size_t>(depth * nr)),
      sums(scales + static_cast<size_t>(nr) * sizeof(float)),
      bias(sums + static_cast<size_t>(nr) * sizeof(int32_t)),
      outliers(bias + static_cast<size_t>(nr) * sizeof(float)),
      bytes((outliers + static_cast<size_t>(slots * nr) * sizeof(float) + 63) / 64 * 64) {}

namespace {

std::vector<KernelTable> make_tables() {
  std::vector<KernelTable> out;
  // Lower bits are better targets. One at a time is made the only choice, so that every table that
  // this CPU can run is reachable, not the best one alone. Highway's own choice is left as it is.
  for (int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0;
       targets &= targets - 1) {
    hwy::ChosenTarget chosen;
    chosen.Update(targets & -targets);
    KernelTable table = *HWY_DISPATCH_TABLE(table)[chosen.GetIndex()]();
    for (const Int8Dot* dot : int8_dots(table.nr)) {
      // The generic one is offered where there is no other.
      if (dot == &kInt8Generic && !out.empty() && out.back().nr == table.nr) continue;
      table.int8 = dot;
      table.bf16 = bf16_dot(dot->isa);
      if (dot != &kInt8Generic) table.isa = dot->isa;
      out.push_back(table);
    }
  }
  return out;
}

}  // namespace

std::vector<const KernelTable*> supported_tables() {
  static const std::vector<KernelTable> kTables = make_tables();
  std::vector<const KernelTable*> out;
  for (const KernelTable& t : kTables) out.push_back(&t);
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
