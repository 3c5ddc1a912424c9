#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tamis::io {

/// A checksum of 32 bits, by its polynomial with the bits turned round.
template <uint32_t polynomial>
uint32_t crc_of(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? polynomial ^ c >> 1 : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  uint32_t c = 0xffffffff;
  for (const char byte : bytes) c = kTable[(c ^ static_cast<uint8_t>(byte)) & 0xff] ^ c >> 8;
  return c ^ 0xffffffff;
}

/// Zip's.
inline uint32_t crc32(std::string_view bytes) { return crc_of<0xEDB88320u>(bytes); }
/// Castagnoli's, as the frame of a TFRecord has it before it is masked.
inline uint32_t crc32c(std::string_view bytes) { return crc_of<0x82F63B78u>(bytes); }

}  // namespace tamis::io
