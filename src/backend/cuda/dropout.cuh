#pragma once

// Dropout in the kernels: a thread takes the columns that share one block of Philox.

#include "backend/cuda/train_kernel_args.h"
#include "gpu.h"
#include "numeric/dropout_bits.h"

namespace tamis::cuda {

/// Groups of columns in a row of n.
__device__ inline int64_t dropout_groups(int64_t n) {
  return (n + kDropoutGroup - 1) / kDropoutGroup;
}

/// Calls f(column, dropped) for the columns of a group of row r of n.
template <class F>
__device__ inline void for_each_drawn(const DropoutDraws& d, int64_t r, int64_t group, int64_t n,
                                      const F& f) {
  PhiloxCounter draws{};
  if (d.threshold != 0) {
    draws = dropout_draws(d.seed, d.site, d.noise_rows[r % d.tokens],
                          static_cast<uint32_t>(r / d.tokens), static_cast<uint32_t>(group));
  }
#pragma unroll
  for (int64_t i = 0; i < kDropoutGroup; ++i) {
    const int64_t c = group * kDropoutGroup + i;
    if (c < n) f(c, is_dropped(draws, i, d.threshold));
  }
}

}  // namespace tamis::cuda
