#pragma once

// Which elements a Dropout drops, row by row on the host; numeric/dropout_bits.h has the draws.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "device/train_ops.h"
#include "numeric/dropout_bits.h"

namespace tamis {

class DropoutMask {
 public:
  explicit DropoutMask(const Dropout& dropout)
      : seed_(dropout.seed),
        site_(dropout.site),
        threshold_(static_cast<uint32_t>(std::lround(dropout.rate * 65536.0f))) {}

  /// The rate as it is rounded, in 1/65536.
  uint32_t threshold() const { return threshold_; }
  /// 1 / (1 - rate), of the rate as it is rounded.
  float kept_scale() const {
    return static_cast<float>(65536.0 / (65536.0 - static_cast<double>(threshold_)));
  }

  /// y[c] = kept ? kept_scale x[c] : 0 for a row of n; head tells rows of the same token apart.
  void apply(uint32_t row, uint32_t head, const float* x, int64_t n, float* y) const {
    const float scale = kept_scale();
    for (int64_t c = 0; c < n; c += kDropoutGroup) {
      const PhiloxCounter draws =
          dropout_draws(seed_, site_, row, head, static_cast<uint32_t>(c / kDropoutGroup));
      const int64_t end = std::min(kDropoutGroup, n - c);
      for (int64_t i = 0; i < end; ++i) {
        y[c + i] = is_dropped(draws, i, threshold_) ? 0.0f : x[c + i] * scale;
      }
    }
  }

 private:
  uint64_t seed_;
  uint32_t site_;
  uint32_t threshold_;
};

}  // namespace tamis
