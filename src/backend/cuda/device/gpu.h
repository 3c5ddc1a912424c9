#pragma once

// What the kernels need of the card beyond CUDA C++ itself: 16-bit types and the tensor cores. The
// tests compile the same kernels with a header of this name that emulates all of it on the host.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#define TAMIS_KERNEL extern "C" __global__ void
#define TAMIS_SHARED __shared__

namespace tamis::cuda {

__device__ inline float f16_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__device__ inline float bf16_to_float(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
__device__ inline uint16_t float_to_f16(float x) { return __half_as_ushort(__float2half_rn(x)); }
__device__ inline uint16_t float_to_bf16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

// d[16x8] += a[16x16] b[16x8], f32 sums; fragments as PTX's mma.m16n8k16 lays them out over the 32
// threads of a warp. Cards before sm_80 have no such instruction: the host never launches a kernel
// with it there, and an f32 path serves them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
__device__ inline void mma_16816(float (&)[4], const uint32_t (&)[4], uint32_t, uint32_t, bool) {
  __trap();
}
#else
__device__ inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                 bool bf16) {
  if (bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}
#endif

}  // namespace tamis::cuda
