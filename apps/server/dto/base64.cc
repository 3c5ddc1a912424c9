#include "dto/base64.h"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tamis::server {
namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

uint32_t byte_at(std::span<const float> values, size_t i) {
  const auto bits = std::bit_cast<uint32_t>(values[i / 4]);
  return bits >> (i % 4 * 8) & 0xFF;
}

}  // namespace

std::string base64(std::span<const float> values) {
  const size_t bytes = values.size() * sizeof(float);
  std::string out;
  out.reserve((bytes + 2) / 3 * 4);
  for (size_t at = 0; at < bytes; at += 3) {
    uint32_t word = 0;
    for (size_t i = at; i < at + 3; ++i) word = word << 8 | (i < bytes ? byte_at(values, i) : 0);
    for (int shift = 18; shift >= 0; shift -= 6) out += kDigits[word >> shift & 63];
  }
  for (size_t i = 0; i < (3 - bytes % 3) % 3; ++i) out[out.size() - 1 - i] = '=';
  return out;
}

}  // namespace tamis::server
