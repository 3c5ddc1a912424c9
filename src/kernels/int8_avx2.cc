#include <immintrin.h>

#include <hwy/base.h>

#include "kernels/int8_dot.h"

HWY_PUSH_ATTRIBUTES("avx2")
#include "kernels/int8_tile-inl.h"

namespace tamis::kernels {
namespace {

// vpmaddubsw adds two products with saturation to s16: exact only for activations up to 127
// (Int8Block). Widening to s16 first would keep 8 bits at 0.77 of the speed.
struct Avx2 {
  using Vec = __m256i;
  static constexpr int kRows = 6;
  static Vec zero() { return _mm256_setzero_si256(); }
  static Vec load(const int8_t* p) { return _mm256_load_si256(reinterpret_cast<const Vec*>(p)); }
  static Vec broadcast(const uint8_t* p) {
    return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  static Vec dot(Vec acc, Vec a, Vec b) {
    const Vec pairs = _mm256_maddubs_epi16(a, b);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static void store(int32_t* p, Vec v) { _mm256_store_si256(reinterpret_cast<Vec*>(p), v); }
};

void multiply(const Int8Block& block) { int8_multiply<Avx2>(block); }

}  // namespace

const Int8Dot kInt8Avx2 = {"avx2", 127, 384 << 10, multiply};

}  // namespace tamis::kernels
HWY_POP_ATTRIBUTES
