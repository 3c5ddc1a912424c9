#pragma once

// What the kernels share: sums and maxima over a warp and a block, which every thread of it must
// call, the elements of a grid, weights and activations.

#include "backend/cuda/kernel_args.h"
#include "gpu.h"

namespace tamis::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

/// The larger; a NaN wins.
__device__ inline float larger(float a, float b) { return a > b || a != a ? a : b; }

__device__ inline float warp_max(float x) {
  for (int step = 16; step > 0; step /= 2) x = larger(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}

/// Of a block of kThreads; `room` has one place for each warp and may be used again at once.
__device__ inline float block_sum(float x, float* room) {
  constexpr int kWarps = kThreads / 32;
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < kWarps; ++i) sum += room[i];
  __syncthreads();  // before anybody writes there again
  return sum;
}

__device__ inline float block_max(float x, float* room) {
  constexpr int kWarps = kThreads / 32;
  x = warp_max(x);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  float best = room[0];
  for (int i = 1; i < kWarps; ++i) best = larger(best, room[i]);
  __syncthreads();
  return best;
}

/// Of all threads of a grid.
__device__ inline int64_t first_element() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t element_step() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

__device__ inline float load_weight(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::kF32) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  return dtype == DType::kF16 ? f16_to_float(bits) : bf16_to_float(bits);
}

__device__ inline float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Activation::kTanh:
      return tanhf(x);
    case Activation::kRelu:
      return x < 0 ? 0.0f : x;  // NaN stays
    case Activation::kNone:
      break;
  }
  return x;
}

}  // namespace tamis::cuda
