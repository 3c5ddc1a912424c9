// Packing the weights of the f32 GEMM. Included once for each instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_GEMM_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_GEMM_PACK_INL_H_
#undef TAMIS_KERNELS_GEMM_PACK_INL_H_
#else
#define TAMIS_KERNELS_GEMM_PACK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "kernels/gemm-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

/// n floats to a storage type of packed weights, to nearest even; the vectors that Highway has for
/// this on all instruction sets truncate bf16, so that is rounded here.
HWY_INLINE void from_f32(DType dtype, const float* src, int64_t n, std::byte* dst) {
  if (dtype == DType::kF16 && HWY_TARGET <= HWY_AVX2) {
    const FloatTag d;
    const hn::Rebind<hwy::float16_t, FloatTag> dh;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    auto* to = reinterpret_cast<hwy::float16_t*>(dst);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
      hn::StoreU(hn::DemoteTo(dh, hn::LoadU(d, src + i)), dh, to + i);
    src += i, n -= i, dst += 2 * i;
  }
  convert_from_f32(dtype, src, dst, static_cast<size_t>(n));
}

HWY_INLINE bool all_finite(const float* x, int64_t n) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  // x * 0 is 0 for finite x and NaN for the others; NaN survives every sum.
  FloatVec vsum = hn::Zero(d);
  float sum = 0;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) vsum = hn::MulAdd(hn::LoadU(d, x + i), hn::Zero(d), vsum);
  for (; i < n; ++i) sum += x[i] * 0.0f;
  return sum + hn::GetLane(hn::SumOfLanes(d, vsum)) == 0.0f;
}

// Columns of W are read nr rows at a time in blocks of kStep, so that each row's cache line is used
// whole before it leaves L1.
HWY_INLINE bool pack_panel(const StoredRow* rows, int64_t k, DType dtype, std::byte* panel) {
  constexpr int64_t kStep = 64;
  const int64_t nr = panel_width();
  const auto step_bytes = nr * static_cast<int64_t>(size_of(dtype));
  HWY_ALIGN float block[HWY_MAX_BYTES / 2][kStep];
  HWY_ALIGN float turned[kStep * HWY_MAX_BYTES / 2];
  bool finite = true;
  for (int64_t k0 = 0; k0 < k; k0 += kStep) {
    const int64_t n = std::min(kStep, k - k0);
    for (int64_t r = 0; r < nr; ++r) {
      const StoredRow& row = rows[r];
      if (row.data == nullptr) {
        std::fill_n(block[r], n, 0.0f);
      } else {
        to_f32(row.dtype, row.data + k0 * static_cast<int64_t>(size_of(row.dtype)), n, block[r]);
      }
    }
    std::byte* to = panel + k0 * step_bytes;
    float* whole = dtype == DType::kF32 ? reinterpret_cast<float*>(to) : turned;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < nr; ++r) whole[i * nr + r] = block[r][i];
    }
    if (dtype != DType::kF32) {
      from_f32(dtype, whole, n * nr, to);
      to_f32(dtype, to, n * nr, whole);  // too large for f16 is infinite now
    }
    finite = all_finite(whole, n * nr) && finite;
  }
  return finite;
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
