#include "text/pattern.h"

#include <charconv>

#include "base/fail.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

constexpr std::string_view kMeta = "\\^$.|?*+()[]{}";
constexpr size_t kMaxCount = 1000;

/// Reads `{n}` or `{n,}` at the front of `rest`; false if it is neither.
bool read_braces(std::string_view& rest, size_t& minimum, bool& open_ended) {
  const size_t close = rest.find('}');
  if (rest.empty() || rest[0] != '{' || close == std::string_view::npos) return false;
  const char* const end = rest.data() + close;
  const auto [stop, error] = std::from_chars(rest.data() + 1, end, minimum);
  if (error != std::errc() || minimum == 0 || minimum > kMaxCount) return false;
  open_ended = stop + 1 == end && *stop == ',';
  if (stop != end && !open_ended) return false;
  rest.remove_prefix(close + 1);
  return true;
}

}  // namespace

Pattern Pattern::literal(std::string_view text, std::string_view where) {
  if (text.empty()) {
    fail(ErrorCode::kUnimplemented, "{}: Replace with an empty pattern is not supported", where);
  }
  Pattern pattern;
  pattern.literal_ = text;
  return pattern;
}

Pattern Pattern::regex(std::string_view expression, std::string_view where) {
  const auto unknown = [&] {
    fail(ErrorCode::kUnimplemented, "{}: regular expression \"{}\" is not supported", where,
         expression);
  };
  Pattern pattern;
  std::string_view rest = expression;
  bool whitespace = false;
  size_t characters = 0;
  while (!rest.empty() && !whitespace) {
    if (rest[0] == '\\' && rest.size() > 1) {
      rest.remove_prefix(1);
      whitespace = characters == 0 && rest[0] == 's';
      if (!whitespace && kMeta.find(rest[0]) == std::string_view::npos) unknown();
    } else if (kMeta.find(rest[0]) != std::string_view::npos) {
      break;
    }
    const size_t length = std::min(utf8_length(rest[0]), rest.size());
    if (!whitespace) pattern.literal_.append(rest.substr(0, length));
    rest.remove_prefix(length);
    ++characters;
  }
  if (characters == 0) unknown();
  if (rest.empty()) return pattern;

  size_t minimum = 1;
  bool open_ended = rest == "+";
  if (open_ended) {
    rest = {};
  } else if (!read_braces(rest, minimum, open_ended)) {
    unknown();
  }
  if (characters != 1 || !rest.empty()) unknown();
  if (open_ended) {
    pattern.repeated_ = true;
    pattern.minimum_ = minimum;
  } else if (whitespace) {
    unknown();
  } else {
    const std::string once = pattern.literal_;
    for (size_t i = 1; i < minimum; ++i) pattern.literal_ += once;
  }
  return pattern;
}

size_t Pattern::run_length(std::string_view text, size_t at) const {
  if (!literal_.empty()) return text.substr(at).starts_with(literal_) ? literal_.size() : 0;
  size_t length = 0;
  return Unicode::get().is_whitespace(decode_utf8(text.data() + at, length)) ? length : 0;
}

std::optional<Pattern::Match> Pattern::find(std::string_view text, size_t from) const {
  if (!repeated_ && !literal_.empty()) {
    const size_t at = text.find(literal_, from);
    if (at == std::string_view::npos) return std::nullopt;
    return Match{at, at + literal_.size()};
  }
  const std::string_view ahead = literal_;
  for (size_t at = from; at < text.size();) {
    if (!ahead.empty()) {  // jump to where a match could start
      at = text.find(ahead, at);
      if (at == std::string_view::npos) return std::nullopt;
    }
    size_t end = at;
    size_t count = 0;
    while (end < text.size()) {
      const size_t one = run_length(text, end);
      if (one == 0 || (!repeated_ && count == 1)) break;
      end += one;
      ++count;
    }
    if (count >= minimum_) return Match{at, end};
    at = count > 0 ? end : at + utf8_length(text[at]);
  }
  return std::nullopt;
}

}  // namespace tamis::text
