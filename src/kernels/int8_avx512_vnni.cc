#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/int8_dot.h"

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include "kernels/int8_tile-inl.h"

namespace tamis::kernels {
namespace {

struct Avx512Vnni {
  using Vec = __m512i;
  static constexpr int kRows = 12;
  static Vec zero() { return _mm512_setzero_si512(); }
  static Vec load(const int8_t* p) { return _mm512_load_si512(p); }
  static Vec broadcast(const uint8_t* p) {
    return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  // The intrinsic makes g++ 12 copy every accumulator in each step.
  static Vec dot(Vec acc, Vec a, Vec b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
  }
  static void store(int32_t* p, Vec v) { _mm512_store_si512(p, v); }
};

void multiply(const Int8Block& block) { int8_multiply<Avx512Vnni>(block); }

}  // namespace

const Int8Dot kInt8Avx512Vnni = {"avx512_vnni", 255, 384 << 10, multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
