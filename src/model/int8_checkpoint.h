#pragma once

// int8 weights in a checkpoint: what `tamis quantize` writes and the loader reads. A layer's weight
// W [out, in] is stored as
//
//   NAME            I8  [out, in]   q
//   NAME_scale      F32 [out]       W[o][i] = scale[o] * q[o][i] * smoothing[i] but for outliers
//   NAME_smoothing  F32 [in]        inputs are multiplied by it before they are quantised
//   NAME_outlier_columns  I32 [n]   inputs that stay f32, ascending; absent if there are none
//   NAME_outliers         F32 [out, n]   their weights
//
// beside tensors of any floating dtype; a weight that is left alone is one of them.

#include <vector>

#include "io/checkpoint.h"
#include "model/spec.h"

namespace tamis {

/// Errors: data_loss (a part is missing, has another shape or dtype, or holds what cannot be).
Int8Weight read_int8_weight(const io::Checkpoint& checkpoint, const TensorView& weight);

/// As f32 in memory of its own: [out, in].
std::vector<float> dequantize(const TensorView& weight, const Int8Weight& parts);

}  // namespace tamis
