#pragma once

// int8 layers of the ref device: the specification, in plain loops.

#include "device/ops.h"

namespace tamis {

size_t ref_int8_bytes(int64_t in, int64_t out);

/// w[o][i] becomes q[o][i] * scale[o], where scale[o] maps the largest |w[o][.]| to 127; outlier
/// columns, which count as zeros in that, are kept as they are.
void ref_int8_pack(const LinearSource& source, std::byte* out);

/// sums[o] = sum over i of (q[i] - zero) * w[o][i], of integers. A row x becomes q in 0..255 with a
/// scale and a zero point of its own, which map min(x, 0) to 0 and max(x, 0) to 255; the inputs in
/// outlier columns count as zeros in that, and are added as f32: x[i] * w[o][i].
/// Smoothing comes before, and its inverse into w.
/// y[r][o] is the result in double, without the bias.
void ref_int8_row(const PackedLinear& weights, const float* x, double* y);

}  // namespace tamis
