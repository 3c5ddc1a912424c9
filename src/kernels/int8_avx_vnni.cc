#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/int8_dot.h"

HWY_PUSH_ATTRIBUTES("avx2,avxvnni")
#include "kernels/int8_tile-inl.h"

namespace tamis::kernels {
namespace {

struct AvxVnni {
  using Vec = __m256i;
  static constexpr int kRows = 6;
  static Vec zero() { return _mm256_setzero_si256(); }
  static Vec load(const int8_t* p) { return _mm256_load_si256(reinterpret_cast<const Vec*>(p)); }
  static Vec broadcast(const uint8_t* p) {
    return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  // The intrinsic makes g++ 12 copy every accumulator in each step.
  static Vec dot(Vec acc, Vec a, Vec b) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
  }
  static void store(int32_t* p, Vec v) { _mm256_store_si256(reinterpret_cast<Vec*>(p), v); }
};

void multiply(const Int8Block& block) { int8_multiply<AvxVnni>(block); }

}  // namespace

const Int8Dot kInt8AvxVnni = {"avx_vnni", 255, 384 << 10, multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
