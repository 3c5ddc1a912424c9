#pragma once

// Stands in the place of src/backend/cuda/device/gpu.h, so that g++ compiles the CUDA kernels as
// they are, for the host. See emulator.h.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "emulator.h"
#include "numeric/dtype.h"

#define __device__
#define TAMIS_KERNEL extern "C" void
// One block runs at a time on a thread of the host.
#define TAMIS_SHARED static thread_local

#define threadIdx (tamis::emulation::current().thread)
#define blockIdx (tamis::emulation::current().block)
#define blockDim (tamis::emulation::current().block_dim)
#define gridDim (tamis::emulation::current().grid_dim)
#define __syncthreads() tamis::emulation::block_barrier()

inline float __shfl_xor_sync(unsigned mask, float value, int lane_mask) {
  return std::bit_cast<float>(
      tamis::emulation::shuffle_xor(mask, std::bit_cast<uint32_t>(value), lane_mask));
}

namespace tamis::cuda {

inline float f16_to_float(uint16_t bits) { return f16_to_f32(bits); }
inline float bf16_to_float(uint16_t bits) { return bf16_to_f32(bits); }
inline uint16_t float_to_f16(float x) { return f32_to_f16(x); }
inline uint16_t float_to_bf16(float x) { return f32_to_bf16(x); }

inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16) {
  tamis::emulation::mma_16816(d, a, b0, b1, bf16);
}

}  // namespace tamis::cuda
