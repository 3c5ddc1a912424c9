#pragma once

// Text on a terminal: how many columns it takes, and how it is cut without breaking a character.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tamis::cli {

/// Columns that one code point takes: 0 (combining), 1, or 2 (CJK, most emoji).
int code_width(char32_t code);

/// Columns of a printable line. Where terminals disagree (emoji joined by ZWJ) the sum of the
/// parts: never less than what is shown.
size_t display_width(std::string_view text);

/// One printable line of at most `columns` columns (0 = no limit), cut with "…" between
/// user-perceived characters. Runs of white space become one space; control characters become their
/// pictures (U+2400..), so that no text can move the cursor, change colours or reorder the line;
/// ill-formed UTF-8 becomes U+FFFD.
std::string fit_to_columns(std::string_view text, size_t columns);

/// The same text in lines of at most `columns` columns (0 = no limit), broken at spaces; a word
/// that is longer has a line of its own. At least one line.
std::vector<std::string> wrap_to_columns(std::string_view text, size_t columns);

/// Pads with spaces on the left or right.
std::string pad_left(std::string_view text, size_t columns);
std::string pad_right(std::string_view text, size_t columns);

}  // namespace tamis::cli
