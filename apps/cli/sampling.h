#pragma once

// Ranks to draw from, and draws that follow from a seed.

#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

namespace tamis::cli {

/// Ranks [begin, end), from 0.
struct RankRange {
  size_t begin = 0;
  size_t end = 0;
};
/// "10-210". Errors: invalid_argument.
RankRange parse_rank_range(std::string_view text);

/// Numbers of (seed, line) alone, the same on every machine.
class RandomDraw {
 public:
  RandomDraw(uint64_t seed, size_t line) : engine_(seed * 0x9E3779B97F4A7C15u + line) {}
  /// In [0, n).
  size_t below(size_t n) { return static_cast<size_t>(engine_() % n); }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace tamis::cli
