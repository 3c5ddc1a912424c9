#include "display_width.h"

#include <algorithm>
#include <iterator>

#include "io/utf8.h"

namespace tamis::cli {
namespace {

struct CodeRange {
  char32_t first, last;
};

#include "width_ranges.inc"

constexpr char32_t kZeroWidthJoiner = 0x200D;
constexpr char32_t kDottedCircle = 0x25CC;
constexpr char32_t kEmojiPresentation = 0xFE0F;
constexpr std::string_view kEllipsis = "…";

template <size_t n>
bool contains(const CodeRange (&ranges)[n], char32_t code) {
  const auto* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), code,
                       [](char32_t value, const CodeRange& range) { return value < range.first; });
  return after != std::begin(ranges) && code <= std::prev(after)->last;
}

bool is_space(char32_t code) {
  return code == ' ' || (code >= '\t' && code <= '\r') || code == 0x85 || code == 0xA0 ||
         code == 0x2028 || code == 0x2029;
}

// Embedding, override and isolate marks: one left open would reorder the rest of the table.
bool is_bidi_control(char32_t code) {
  return (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

bool is_regional_indicator(char32_t code) { return code >= 0x1F1E6 && code <= 0x1F1FF; }
bool is_skin_tone(char32_t code) { return code >= 0x1F3FB && code <= 0x1F3FF; }

// What is shown instead of a control character; 0 = nothing.
char32_t shown(char32_t code) {
  if (code < 0x20) return 0x2400 + code;
  if (code == 0x7F) return 0x2421;
  if (code < 0xA0 && code >= 0x80) return io::kReplacementCharacter;
  return is_bidi_control(code) || code == 0xFEFF ? 0 : code;
}

// A user-perceived character: a base, and what combines with it. Simpler than Unicode's UAX 29 in
// scripts whose letters join; there a cut can fall inside a conjunct, as it does in terminals.
class Clusters {
 public:
  explicit Clusters(std::string_view text) : text_(text) {}

  // The next one, ready to be printed, and its columns; false at the end.
  bool next(std::string& out, size_t& columns) {
    out.clear();
    columns = 0;
    char32_t previous = 0;
    for (; at_ < text_.size(); previous = peek_.code) {
      peek_ = io::decode_utf8(text_, at_);
      if (is_space(peek_.code)) {
        if (out.empty()) return take_space(out, columns);
        break;
      }
      const char32_t code = shown(peek_.code);
      const bool joins = out.empty() || code == 0 || code_width(code) == 0 || is_skin_tone(code) ||
                         previous == kZeroWidthJoiner || pairs(previous, code);
      if (!joins) break;
      append(out, columns, code);
      at_ += peek_.bytes;
    }
    return !out.empty();
  }

 private:
  bool take_space(std::string& out, size_t& columns) {
    while (at_ < text_.size()) {
      peek_ = io::decode_utf8(text_, at_);
      if (!is_space(peek_.code)) break;
      at_ += peek_.bytes;
    }
    out.push_back(' ');
    columns = 1;
    return true;
  }

  // Two regional indicators make a flag, the third begins the next one.
  bool pairs(char32_t previous, char32_t code) {
    if (!is_regional_indicator(previous) || !is_regional_indicator(code)) {
      return paired_ = false;
    }
    return paired_ = !paired_;
  }

  static void append(std::string& out, size_t& columns, char32_t code) {
    if (code == 0) return;
    // A mark without a base gets one, or it would sit on the table's last space.
    if (out.empty() && code_width(code) == 0) {
      io::append_utf8(out, kDottedCircle);
      columns = 1;
    }
    io::append_utf8(out, code);
    columns += static_cast<size_t>(code_width(code));
    if (code == kEmojiPresentation) columns = std::max<size_t>(columns, 2);
  }

  std::string_view text_;
  size_t at_ = 0;
  io::Utf8Step peek_;
  bool paired_ = false;
};

}  // namespace

int code_width(char32_t code) {
  if (code < 0x300) return 1;
  if (contains(kZeroWidth, code)) return 0;
  return contains(kWide, code) ? 2 : 1;
}

size_t display_width(std::string_view text) {
  size_t width = 0, columns = 0;
  std::string cluster;
  for (Clusters clusters(text); clusters.next(cluster, columns);) width += columns;
  return width;
}

std::string fit_to_columns(std::string_view text, size_t columns) {
  std::string out, cluster;
  size_t width = 0, next = 0;
  size_t before_ellipsis = 0;  // bytes of out that leave one column free
  for (Clusters clusters(text); clusters.next(cluster, next);) {
    if (columns != 0 && width + next > columns) {
      out.resize(before_ellipsis);
      return out.append(kEllipsis);
    }
    width += next;
    out += cluster;
    if (width < columns) before_ellipsis = out.size();
  }
  return out;
}

std::vector<std::string> wrap_to_columns(std::string_view text, size_t columns) {
  const std::string whole = fit_to_columns(text, 0);
  std::vector<std::string> out(1);
  if (columns == 0) return {whole};
  size_t used = 0;
  for (size_t at = 0; at < whole.size();) {
    const size_t end = std::min(whole.find(' ', at), whole.size());
    const std::string_view word = std::string_view(whole).substr(at, end - at);
    const size_t width = display_width(word);
    if (used > 0 && used + 1 + width > columns) {
      out.emplace_back();
      used = 0;
    } else if (used > 0) {
      out.back() += ' ';
      ++used;
    }
    out.back() += word;
    used += width;
    at = end + 1;
  }
  return out;
}

std::string pad_left(std::string_view text, size_t columns) {
  const size_t width = display_width(text);
  return std::string(columns > width ? columns - width : 0, ' ').append(text);
}

std::string pad_right(std::string_view text, size_t columns) {
  const size_t width = display_width(text);
  return std::string(text).append(columns > width ? columns - width : 0, ' ');
}

}  // namespace tamis::cli
