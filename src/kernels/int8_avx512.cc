#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/int8_dot.h"

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq")
#include "kernels/int8_tile-inl.h"

namespace tamis::kernels {
namespace {

// As int8_avx2.cc, in registers of twice the width.
struct Avx512 {
  using Vec = __m512i;
  static constexpr int kRows = 12;
  static Vec zero() { return _mm512_setzero_si512(); }
  static Vec load(const int8_t* p) { return _mm512_load_si512(p); }
  static Vec broadcast(const uint8_t* p) {
    return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  static Vec dot(Vec acc, Vec a, Vec b) {
    const Vec pairs = _mm512_maddubs_epi16(a, b);
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  static void store(int32_t* p, Vec v) { _mm512_store_si512(p, v); }
};

void multiply(const Int8Block& block) { int8_multiply<Avx512>(block); }

}  // namespace

const Int8Dot kInt8Avx512 = {"avx512", 127, 384 << 10, multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
