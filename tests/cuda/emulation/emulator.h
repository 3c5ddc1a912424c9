#pragma once

// Runs a CUDA kernel on the host: each thread of a block is a fiber, and the blocks run one after
// the other. A warp runs ahead of the others as far as barriers let it, from the first warp to the
// last or the other way round, so that a barrier that is missing shows as a wrong result in one of
// the two orders. What a card would hang on, or leave undefined, is an error.

#include <cstdint>
#include <functional>
#include <string>

namespace tamis::emulation {

struct Index {
  unsigned x = 1, y = 1, z = 1;
};

/// A thread of a kernel, as threadIdx and the like tell it.
struct Place {
  Index thread{0, 0, 0}, block{0, 0, 0}, block_dim, grid_dim;
};

/// Of all runs; set between them.
struct Settings {
  bool last_warp_first = false;
};
Settings& settings();

/// Runs `body` once for every thread. Returns what went wrong, or "": a barrier that not all
/// threads of a block reach, a shuffle with a lane that has ended, more than 1,024 threads.
std::string run(Index grid, Index block, const std::function<void()>& body);

// For kernels, while they run.
const Place& current();
void block_barrier();
uint32_t shuffle_xor(unsigned mask, uint32_t value, int lane_mask);
/// d[16x8] += a[16x16] b[16x8] of a whole warp [PTX ISA, "Matrix Fragments for mma.m16n8k16"].
void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16);

}  // namespace tamis::emulation
