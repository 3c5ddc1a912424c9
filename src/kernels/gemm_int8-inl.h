// int8 GEMM around the integer products of int8_dot.h: quantising rows, packing weights, and the
// way back to f32. Included once for each instruction set (kernels.cc).

#if defined(TAMIS_KERNELS_GEMM_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TAMIS_KERNELS_GEMM_INT8_INL_H_
#undef TAMIS_KERNELS_GEMM_INT8_INL_H_
#else
#define TAMIS_KERNELS_GEMM_INT8_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/elementwise-inl.h"
#include "kernels/gemm-inl.h"
#include "kernels/gemm_pack-inl.h"
#include "kernels/int8_dot.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace tamis::kernels::HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;

// Rows whose sums are finished before the next: 12 KiB of them, still in L1.
constexpr int64_t kInt8BlockRows = 96;

HWY_INLINE size_t gemm_int8_scratch(int64_t rows) {
  const int64_t groups = (std::min(rows, kInt8BlockRows) + kInt8RowGroup - 1) / kInt8RowGroup;
  return static_cast<size_t>(groups * kInt8RowGroup * panel_width());
}

struct Range {
  float low, high;
  bool finite;
};

/// x[i] * factors[i]; null factors are ones.
HWY_INLINE FloatVec load_scaled(const float* x, const float* factors, int64_t i) {
  const FloatTag d;
  const FloatVec v = hn::LoadU(d, x + i);
  return factors == nullptr ? v : hn::Mul(v, hn::LoadU(d, factors + i));
}
HWY_INLINE float scaled(const float* x, const float* factors, int64_t i) {
  return factors == nullptr ? x[i] : x[i] * factors[i];
}

/// Least and largest of x * factors and 0.
HWY_INLINE Range range_of(const float* x, const float* factors, int64_t n) {
  const FloatTag d;
  FloatVec vlow = hn::Zero(d), vhigh = hn::Zero(d), vcheck = hn::Zero(d);
  Range out{0, 0, true};
  float check = 0;
  for_each(
      n,
      [&](int64_t i) HWY_ATTR {
        const FloatVec v = load_scaled(x, factors, i);
        vlow = hn::Min(vlow, v);
        vhigh = hn::Max(vhigh, v);
        vcheck = hn::MulAdd(v, hn::Zero(d), vcheck);  // NaN if v is NaN or Inf
      },
      [&](int64_t i) HWY_ATTR {
        const float v = scaled(x, factors, i);
        out.low = std::min(out.low, v);
        out.high = std::max(out.high, v);
        check += v * 0.0f;
      });
  out.low = std::min(out.low, hn::GetLane(hn::MinOfLanes(d, vlow)));
  out.high = std::max(out.high, hn::GetLane(hn::MaxOfLanes(d, vhigh)));
  out.finite = check + sum_of(vcheck) == 0.0f;
  return out;
}

/// y /= x
HWY_INLINE void divide(const float* x, int64_t n, float* y) {
  const FloatTag d;
  for_each(
      n,
      [&](int64_t i)
          HWY_ATTR { hn::StoreU(hn::Div(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i); },
      [&](int64_t i) HWY_ATTR { y[i] /= x[i]; });
}

/// Zero is a level, so that inputs of zero, padding among them, cost no error.
HWY_NOINLINE void quantize_row(const QuantizeArgs& args) {
  const FloatTag d;
  const IntTag di;
  const hn::Rebind<uint8_t, FloatTag> d8;
  const float* x = args.x;
  const float* factors = args.factors;
  for (int64_t i = 0; i < args.outlier_count; ++i) args.outliers[i] = x[args.outlier_columns[i]];
  const Range range = range_of(x, factors, args.inputs);
  const bool finite = range.finite;  // of outliers too: NaN and Inf times 0 are NaN
  const auto levels = static_cast<float>(args.levels);
  const float width = range.high - range.low;
  // Below this the row is zero for all that comes, and its inverse would overflow.
  const float inverse = width > 1e-30f ? levels / width : 0.0f;
  const auto zero = finite ? static_cast<int32_t>(std::nearbyintf(-range.low * inverse)) : 0;
  *args.scale = {finite ? width / levels : std::numeric_limits<float>::quiet_NaN(), zero};
  const FloatVec vinverse = hn::Set(d, inverse);
  const auto vzero = hn::Set(di, zero), vtop = hn::Set(di, args.levels);
  for_each(
      args.inputs,
      [&](int64_t i) HWY_ATTR {
        const auto v = hn::NearestInt(hn::Mul(load_scaled(x, factors, i), vinverse));
        hn::StoreU(hn::DemoteTo(d8, hn::Min(hn::Add(v, vzero), vtop)), d8, args.q + i);
      },
      [&](int64_t i) HWY_ATTR {
        // NaN must not reach the conversion, which C++ leaves undefined for it.
        const float v = finite ? std::nearbyintf(scaled(x, factors, i) * inverse) : 0.0f;
        args.q[i] = static_cast<uint8_t>(
            std::clamp(static_cast<int32_t>(v) + zero, int32_t{0}, args.levels));
      });
  const int64_t depth = (args.inputs + kInt8Depth - 1) / kInt8Depth * kInt8Depth;
  std::memset(args.q + args.inputs, 0, static_cast<size_t>(depth - args.inputs));
}

/// What turns a panel's s32 sums into f32.
struct Int8Columns {
  const float* scales;
  const int32_t* sums;
  const float* bias;
  const float* outliers;

  Int8Columns(const std::byte* panel, const Int8Panel& layout)
      : scales(reinterpret_cast<const float*>(panel + layout.scales)),
        sums(reinterpret_cast<const int32_t*>(panel + layout.sums)),
        bias(reinterpret_cast<const float*>(panel + layout.bias)),
        outliers(reinterpret_cast<const float*>(panel + layout.outliers)) {}
};

/// One vector of a row of C, the columns from `at` of the panel on.
HWY_INLINE FloatVec int8_to_f32(const Int8GemmArgs& g, const Int8Columns& columns, int64_t row,
                                const int32_t* acc, int64_t at) {
  const FloatTag d;
  const IntTag di;
  const int64_t nr = panel_width();
  const RowScale scale = g.scales[row];
  // sum (q - zero) w = sum q w - zero sum w; exact: it is below 2^31 as the sum itself is.
  const auto exact = hn::Sub(hn::LoadU(di, acc + at),
                             hn::Mul(hn::Set(di, scale.zero), hn::LoadU(di, columns.sums + at)));
  const FloatVec factor = hn::Mul(hn::Set(d, scale.scale), hn::LoadU(d, columns.scales + at));
  FloatVec y = hn::MulAdd(hn::ConvertTo(d, exact), factor, hn::LoadU(d, columns.bias + at));
  const float* x = g.outliers + row * g.outlier_count;
  for (int64_t o = 0; o < g.outlier_count; ++o) {
    y = hn::MulAdd(hn::Set(d, x[o]), hn::LoadU(d, columns.outliers + o * nr + at), y);
  }
  return activate(d, g.activation, y);
}

/// `next`: where the block after this one will write. Asked for now, its lines are there by then: 8
/// % of a call of 1024 rows with AMX, which is done before they would come from L3.
HWY_INLINE void finish_int8_rows(const Int8GemmArgs& g, const Int8Columns& columns, int64_t row0,
                                 int64_t rows, int64_t col, const int32_t* acc, const float* next) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t nr = panel_width();
  const int64_t valid = std::min(nr, g.cols - col);
  HWY_ALIGN float edge[2 * HWY_MAX_BYTES / sizeof(float)];
  for (int64_t r = 0; r < rows; ++r, acc += nr) {
    float* c = g.c + (row0 + r) * g.ldc + col;
    __builtin_prefetch(next, 1, 3);
    __builtin_prefetch(next + kCacheLine / sizeof(float), 1, 3);
    next += g.ldc;
    float* to = valid < nr ? edge : c;
    hn::StoreU(int8_to_f32(g, columns, row0 + r, acc, 0), d, to);
    hn::StoreU(int8_to_f32(g, columns, row0 + r, acc, lanes), d, to + lanes);
    if (valid < nr) std::memcpy(c, edge, static_cast<size_t>(valid) * sizeof(float));
  }
}

HWY_NOINLINE void gemm_int8(const Int8Dot& dot, const Int8GemmArgs& g, int32_t* scratch) {
  const int64_t nr = panel_width();
  const Int8Panel layout(g.inputs, nr);
  const auto panel_at = [&](int64_t p) { return g.packed + static_cast<size_t>(p) * layout.bytes; };
  // As many rows as L2 holds pass over the weights together: each pass reads these from memory.
  const int64_t most = std::max(kInt8BlockRows, dot.block_bytes / g.lda);
  const int64_t passes = (g.rows + most - 1) / most;
  const int64_t pass = round_up((g.rows + passes - 1) / passes, kInt8RowGroup);
  for (int64_t row0 = 0; row0 < g.rows; row0 += pass) {
    const int64_t end = std::min(g.rows, row0 + pass);
    const int64_t blocks = (end - row0 + kInt8BlockRows - 1) / kInt8BlockRows;
    const int64_t share = (layout.depth * nr / blocks + 63) / 64 * 64;
    for (int64_t p = g.panel_begin; p < g.panel_end; ++p) {
      const std::byte* next = panel_at(p + 1 < g.panel_end ? p + 1 : g.panel_begin);
      for (int64_t row = row0; row < end; row += kInt8BlockRows, next += share) {
        const int64_t rows = std::min(kInt8BlockRows, end - row);
        dot.multiply({.a = g.a + row * g.lda,
                      .lda = g.lda,
                      .rows = rows,
                      .k = layout.depth,
                      .b = reinterpret_cast<const int8_t*>(panel_at(p)),
                      .nr = nr,
                      .acc = scratch,
                      .ahead = next,
                      .ahead_bytes = share});
        const bool more = row + rows < end;
        const float* c = g.c + (more ? row + rows : row0) * g.ldc + (more ? p : p + 1) * nr;
        finish_int8_rows(g, Int8Columns(panel_at(p), layout), row, rows, p * nr, scratch, c);
      }
    }
  }
}

/// One row of weights to s8 with the scale that maps its largest value to 127.
HWY_INLINE bool quantize_weights(float* row, int64_t inputs, int8_t* q, float* scale) {
  const FloatTag d;
  const hn::Rebind<int8_t, FloatTag> d8;
  const Range range = range_of(row, nullptr, inputs);
  const float largest = std::max(range.high, -range.low);
  const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
  *scale = largest / 127.0f;
  for_each(
      inputs,
      [&](int64_t i) HWY_ATTR {
        const auto v = hn::NearestInt(hn::Mul(hn::LoadU(d, row + i), hn::Set(d, inverse)));
        hn::StoreU(hn::DemoteTo(d8, v), d8, q + i);
      },
      [&](int64_t i) HWY_ATTR {
        q[i] = static_cast<int8_t>(range.finite ? std::nearbyintf(row[i] * inverse) : 0.0f);
      });
  return range.finite;
}

/// Rows are taken one after the other; a panel of 4096 inputs is 128 KiB, which stays in L2.
HWY_NOINLINE bool pack_int8_panel(const StoredRow* rows, int64_t inputs,
                                  const InputQuantization& input, std::byte* panel) {
  const auto outlier_count = static_cast<int64_t>(input.outlier_columns.size());
  const int64_t nr = panel_width();
  const Int8Panel layout(inputs, nr);
  auto* scales = reinterpret_cast<float*>(panel + layout.scales);
  auto* sums = reinterpret_cast<int32_t*>(panel + layout.sums);
  auto* outliers = reinterpret_cast<float*>(panel + layout.outliers);
  std::memset(panel, 0, layout.bytes);
  HWY_ALIGN float wide[kMaxInt8Inputs];
  HWY_ALIGN int8_t narrow[kMaxInt8Inputs];
  bool finite = true;
  for (int64_t r = 0; r < nr; ++r) {
    const StoredRow& row = rows[r];
    if (row.data == nullptr) continue;
    const auto* q = reinterpret_cast<const int8_t*>(row.data);
    scales[r] = row.scale;
    if (row.dtype != DType::kI8) {
      to_f32(row.dtype, row.data, inputs, wide);
      finite = all_finite(wide, inputs) && finite;
    }
    for (int64_t o = 0; o < outlier_count; ++o) {
      float* to = outliers + o * nr + r;
      float& kept = wide[input.outlier_columns[static_cast<size_t>(o)]];
      *to = row.dtype == DType::kI8 ? row.outliers[o] : std::exchange(kept, 0.0f);
    }
    if (row.dtype != DType::kI8) {
      if (!input.smoothing.empty()) divide(input.smoothing.data(), inputs, wide);
      quantize_weights(wide, inputs, narrow, &scales[r]);
      q = narrow;
    }
    int32_t sum = 0;
    auto* to = reinterpret_cast<int8_t*>(panel) + 4 * r;
    for (int64_t k = 0; k < inputs; ++k) {
      to[k / 4 * 4 * nr + k % 4] = q[k];
      sum += q[k];
    }
    sums[r] = sum;
  }
  return finite;
}

}  // namespace tamis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
