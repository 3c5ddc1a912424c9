#pragma once

// The few regular expressions that tokenizer files use in Replace.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tamis::text {

/// A literal string, or one character (or \s) with a quantifier: `a b`, ` {2,}`, `\s+`, `x{3}`.
class Pattern {
 public:
  struct Match {
    size_t begin, end;
  };

  /// Every character stands for itself. Errors: unimplemented for an empty one.
  static Pattern literal(std::string_view text, std::string_view where);
  /// Errors: unimplemented, naming the expression, for any but those above.
  static Pattern regex(std::string_view expression, std::string_view where);

  /// First match at or after byte `from`; matches are never empty.
  std::optional<Match> find(std::string_view text, size_t from) const;
  /// Bytes of the shortest text that matches.
  size_t shortest_match() const {
    return std::max<size_t>(literal_.size(), 1) * (repeated_ ? minimum_ : 1);
  }

 private:
  size_t run_length(std::string_view text, size_t at) const;

  std::string literal_;    // empty: any whitespace character
  bool repeated_ = false;  // as many as there are, at least minimum_
  size_t minimum_ = 1;
};

}  // namespace tamis::text
