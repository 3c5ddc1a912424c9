#include "base/byte_size.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

#include "base/fail.h"

namespace tamis {
namespace {

constexpr std::string_view kPrefixes = "KMGTPE";

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

// "" and "B" are 1. Empty: no such unit.
std::optional<uint64_t> unit_bytes(std::string_view unit) {
  if (unit.empty() || (unit.size() == 1 && upper(unit[0]) == 'B')) return 1;
  const size_t power = kPrefixes.find(upper(unit[0]));
  if (power == std::string_view::npos) return std::nullopt;
  const bool binary = unit.size() == 3 && upper(unit[1]) == 'I';
  if ((unit.size() != 2 && !binary) || upper(unit.back()) != 'B') return std::nullopt;
  uint64_t out = 1;
  for (size_t i = 0; i <= power; ++i) out *= binary ? 1024 : 1000;
  return out;
}

size_t digits_at(std::string_view text, size_t at) {
  const size_t end = text.find_first_not_of("0123456789", at);
  return (end == std::string_view::npos ? text.size() : end) - at;
}

[[noreturn]] void refuse(std::string_view text) {
  constexpr size_t kShown = 40;
  fail(ErrorCode::kInvalidArgument,
       "number of bytes: expected digits and a unit (none, B, KB, MB, GB, TB of 1000 or KiB, MiB, "
       "GiB, TiB of 1024), as in 1.5GiB, got \"{}{}\"",
       text.substr(0, kShown), text.size() > kShown ? "..." : "");
}

[[noreturn]] void refuse_size(std::string_view text) {
  fail(ErrorCode::kInvalidArgument, "number of bytes: expected at most {}, got {}",
       std::numeric_limits<size_t>::max(), text.substr(0, 40));
}

// What ".25" adds, in bytes of a unit of `unit` bytes.
uint64_t fraction_bytes(std::string_view fraction, uint64_t unit) {
  if (fraction.empty()) return 0;
  double value = 0;
  // Its decimal point stands first, so that a long fraction cannot overflow.
  std::from_chars(fraction.data(), fraction.data() + fraction.size(), value);
  return static_cast<uint64_t>(std::llround(value * static_cast<double>(unit)));
}

}  // namespace

size_t parse_bytes(std::string_view text) {
  const size_t whole = digits_at(text, 0);
  if (whole == 0) refuse(text);
  size_t end = whole;
  std::string_view fraction;
  if (end < text.size() && text[end] == '.') {
    const size_t digits = digits_at(text, end + 1);
    if (digits == 0) refuse(text);
    fraction = text.substr(end, digits + 1);
    end += digits + 1;
  }
  const bool space = end + 1 < text.size() && text[end] == ' ';
  const std::string_view name = text.substr(end + (space ? 1 : 0));
  const std::optional<uint64_t> unit = unit_bytes(name);
  if (!unit || (*unit == 1 && !fraction.empty())) refuse(text);

  uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + whole, value);
  uint64_t bytes = 0;
  if (parsed.ec != std::errc{} || __builtin_mul_overflow(value, *unit, &bytes) ||
      __builtin_add_overflow(bytes, fraction_bytes(fraction, *unit), &bytes) ||
      bytes > std::numeric_limits<size_t>::max()) {
    refuse_size(text);
  }
  return static_cast<size_t>(bytes);
}

std::string format_bytes(size_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.5 would be written as 1000.
  for (; value >= 999.5 && unit + 1 < kPrefixes.size(); ++unit) value /= 1000;
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}B", value, decimals, kPrefixes[unit]);
}

}  // namespace tamis
