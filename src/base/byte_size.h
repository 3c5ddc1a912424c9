#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tamis {

/// The number of bytes that a person wrote: "1024", "512 B", "64KB", "1.5GiB". KB, MB, GB, TB, PB,
/// EB are powers of 1000; KiB, MiB, ... powers of 1024; upper or lower case, with or without one
/// space before the unit. Only a number with a unit may have a fraction; it is rounded to the
/// nearest byte. Errors: invalid_argument for anything else, signs and exponents included, and for
/// what does not fit.
size_t parse_bytes(std::string_view text);

/// For people, decimal, three significant digits: "512 B", "25.2 MB", "1.21 GB".
std::string format_bytes(size_t bytes);

}  // namespace tamis
