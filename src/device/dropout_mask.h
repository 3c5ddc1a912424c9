#pragma once

// Which elements a Dropout drops, for backends on the host; CUDA has the same function on its side.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "device/train_ops.h"
#include "numeric/philox.h"

namespace tamis {

/// A draw of 16 bits for each element, eight from one block of Philox.
class DropoutMask {
 public:
  explicit DropoutMask(const Dropout& dropout)
      : seed_(dropout.seed),
        site_(dropout.site),
        threshold_(static_cast<uint32_t>(std::lround(dropout.rate * 65536.0f))) {}

  /// 1 / (1 - rate), of the rate as it is rounded.
  float kept_scale() const {
    return static_cast<float>(65536.0 / (65536.0 - static_cast<double>(threshold_)));
  }

  /// y[c] = kept ? kept_scale x[c] : 0 for a row of n; head tells rows of the same token apart.
  void apply(uint32_t row, uint32_t head, const float* x, int64_t n, float* y) const {
    const float scale = kept_scale();
    for (int64_t c = 0; c < n; c += 8) {
      const PhiloxCounter bits = philox({static_cast<uint32_t>(c / 8), row, head, site_}, seed_);
      const int64_t end = std::min<int64_t>(8, n - c);
      for (int64_t i = 0; i < end; ++i) {
        const uint32_t draw = bits[static_cast<size_t>(i / 2)] >> (i % 2 * 16) & 0xffff;
        y[c + i] = draw < threshold_ ? 0.0f : x[c + i] * scale;
      }
    }
  }

 private:
  uint64_t seed_;
  uint32_t site_;
  uint32_t threshold_;
};

}  // namespace tamis
