#pragma once

// What int8 layers are, for whoever chooses, stores or runs them (docs/decisions/0008-int8.md).

#include <algorithm>
#include <cstdint>

namespace tamis {

/// Inputs of an int8 layer that may stay in f32, weights and activations, because their values are
/// far larger than the others' and would take the resolution from them. Room for as many is always
/// kept, so that the size of a layer follows from its shape.
inline int64_t max_outlier_columns(int64_t inputs) {
  return std::clamp<int64_t>(inputs / 64, 1, 16);
}

}  // namespace tamis
