#include "kernels/int8_dot.h"

namespace tamis::kernels {
namespace {

void multiply(const Int8Block& g) {
  for (int64_t r = 0; r < g.rows; ++r) {
    const uint8_t* a = g.a + r * g.lda;
    int32_t* acc = g.acc + r * g.nr;
    for (int64_t c = 0; c < g.nr; ++c) acc[c] = 0;
    for (int64_t k = 0; k < g.k; k += 4) {
      const int8_t* b = g.b + k * g.nr;
      for (int64_t c = 0; c < g.nr; ++c) {
        acc[c] += a[k] * b[4 * c] + a[k + 1] * b[4 * c + 1] + a[k + 2] * b[4 * c + 2] +
                  a[k + 3] * b[4 * c + 3];
      }
    }
  }
}

}  // namespace

const Int8Dot kInt8Generic = {"generic", 255, 384 << 10, multiply};

}  // namespace tamis::kernels
