#pragma once

// UTF-8 as foreign bytes bring it: checked, never trusted.

#include <cstddef>
#include <string>
#include <string_view>

namespace tamis::io {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

/// One code point, or one ill-formed part that stands for U+FFFD.
struct Utf8Step {
  char32_t code = kReplacementCharacter;
  size_t bytes = 1;  ///< at least 1
  bool well_formed = false;
};

/// Decodes at text[at]; at < text.size(). An ill-formed part ends where no well-formed sequence
/// could go on (Unicode 3.9, "substitution of maximal subparts"), as Python and browsers count it.
Utf8Step decode_utf8(std::string_view text, size_t at);

bool is_utf8(std::string_view text);

/// Appends `text` to `out` with U+FFFD for each ill-formed part; returns how many there were.
size_t append_repaired_utf8(std::string& out, std::string_view text);

/// Appends the encoding of a code point (not a surrogate, at most U+10FFFF).
void append_utf8(std::string& out, char32_t code);

}  // namespace tamis::io
