#pragma once

// The plain form of a packed layer, for backends that need no other: W [out][in] in its storage
// type, then, from a multiple of 64 bytes on, the bias as f32 [out].

#include <cstddef>

#include "device/ops.h"

namespace tamis {

/// dtype: f32, f16 or bf16.
size_t plain_linear_bytes(int64_t in_features, int64_t out_features, DType dtype);
/// Errors: as Ops::pack_linear.
void pack_plain_linear(const LinearSource& source, DType dtype, std::byte* out);
/// Where the bias of such a layer is.
const float* plain_linear_bias(const PackedLinear& weights);

}  // namespace tamis
