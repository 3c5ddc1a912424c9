#pragma once

// Fast walks over text that is known to be valid UTF-8 (io/utf8.h is for text that is not).

#include <cstddef>
#include <string_view>

namespace tamis::text {

/// Bytes of the character that starts with `lead`, in valid UTF-8.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

inline bool is_utf8_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// The character at `p`, in valid UTF-8; `length` gets its bytes.
inline char32_t decode_utf8(const char* p, size_t& length) {
  const auto at = [p](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  length = utf8_length(*p);
  switch (length) {
    case 1:
      return at(0);
    case 2:
      return (at(0) & 0x1F) << 6 | (at(1) & 0x3F);
    case 3:
      return (at(0) & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F);
    default:
      return (at(0) & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F);
  }
}

/// Reads `text` character by character: for (Utf8Reader r(text); r.next();) r.character ...
struct Utf8Reader {
  explicit Utf8Reader(std::string_view valid_text) : text(valid_text) {}

  bool next() {
    begin += length;
    if (begin >= text.size()) return false;
    character = decode_utf8(text.data() + begin, length);
    return true;
  }
  std::string_view bytes() const { return text.substr(begin, length); }

  std::string_view text;
  size_t begin = 0;   ///< byte where the character starts
  size_t length = 0;  ///< its bytes
  char32_t character = 0;
};

/// Start of the character that ends right before byte `end` > 0 of valid text.
inline size_t utf8_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && is_utf8_continuation(text[begin])) --begin;
  return begin;
}

/// Number of characters of valid text.
inline size_t utf8_count(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += !is_utf8_continuation(byte);
  return count;
}

}  // namespace tamis::text
