#pragma once

// Philox 4x32-10: random bits as a pure function of a counter and a key, so that nothing has to be
// kept to draw the same ones again [Salmon et al., Parallel random numbers: as easy as 1, 2, 3,
// SC 2011].

#include <array>
#include <cstdint>

namespace tamis {

using PhiloxCounter = std::array<uint32_t, 4>;

constexpr PhiloxCounter philox(PhiloxCounter c, uint64_t key) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

/// A key of its own for the n-th of a kind.
constexpr uint64_t derived_key(uint64_t key, uint64_t n, uint32_t kind) {
  const PhiloxCounter c =
      philox({static_cast<uint32_t>(n), static_cast<uint32_t>(n >> 32), kind, 0}, key);
  return uint64_t{c[0]} << 32 | c[1];
}

/// A stream of draws with a key of its own. Copies continue alike.
class PhiloxStream {
 public:
  explicit PhiloxStream(uint64_t key, uint32_t stream = 0) : key_(key), stream_(stream) {}

  uint32_t next() {
    if (used_ == 4) {
      bits_ = philox(
          {static_cast<uint32_t>(blocks_), static_cast<uint32_t>(blocks_ >> 32), stream_, 0x7461u},
          key_);
      ++blocks_;
      used_ = 0;
    }
    return bits_[used_++];
  }
  /// In [0, n), each as likely (Lemire's method, without the rejection's bias). Expects n > 0.
  uint32_t below(uint32_t n) {
    for (;;) {
      const uint64_t product = uint64_t{next()} * n;
      if (static_cast<uint32_t>(product) >= static_cast<uint32_t>(-n) % n) {
        return static_cast<uint32_t>(product >> 32);
      }
    }
  }
  /// In [0, 1), a multiple of 2^-32.
  double uniform() { return next() * 0x1p-32; }

 private:
  uint64_t key_;
  uint32_t stream_;
  uint64_t blocks_ = 0;
  PhiloxCounter bits_ = {};
  uint32_t used_ = 4;
};

}  // namespace tamis
