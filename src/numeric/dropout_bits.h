#pragma once

// Which elements a dropout drops. Constexpr, so that the host and the kernels of CUDA have it from
// this one source.

#include <cstdint>

#include "numeric/philox.h"

namespace tamis {

/// Columns that one block of Philox serves, with 16 bits each.
inline constexpr int64_t kDropoutGroup = 8;

/// The draws of the columns [8 group, 8 group + 8) of a row; head tells rows of the same token
/// apart.
constexpr PhiloxCounter dropout_draws(uint64_t seed, uint32_t site, uint32_t row, uint32_t head,
                                      uint32_t group) {
  return philox({group, row, head, site}, seed);
}

/// Whether the i-th of them is dropped, at a rate of threshold / 65536.
constexpr bool is_dropped(const PhiloxCounter& draws, int64_t i, uint32_t threshold) {
  return (draws[static_cast<size_t>(i / 2)] >> (i % 2 * 16) & 0xffff) < threshold;
}

}  // namespace tamis
