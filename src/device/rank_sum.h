#pragma once

#include <cstdint>

namespace tamis {

/// Sums over the devices of a run where the numbers lie, on the stream that joined. All make the
/// same calls in the same order.
class RankSum {
 public:
  virtual ~RankSum() = default;
  /// x [n], of the device's memory, becomes the sum of all: the same bits on each. Queued.
  virtual void sum(float* x, int64_t n) = 0;
};

}  // namespace tamis
