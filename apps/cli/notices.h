#pragma once

// What the tool says to people, on standard error: errors, notices, the end of a run.

#include <string>
#include <string_view>

#include "tamis/error.h"
#include "tamis/log.h"

namespace tamis::cli {

/// An error with a line that says what to do about it.
class HintedError : public Error {
 public:
  HintedError(ErrorCode code, const std::string& message, std::string hint)
      : Error(code, message), hint_(std::move(hint)) {}
  const std::string& hint() const { return hint_; }

 private:
  std::string hint_;
};

/// "tamis: error: <message>", and "  hint: <hint>" where there is one. Never fails: a closed
/// standard error changes nothing. Control characters of foreign text are made visible.
void print_error(std::string_view message, std::string_view hint = {});

/// The end of a run with --keep-going that met bad lines; nothing for 0.
void say_failed_lines(size_t count, std::string_view where);

class Notices {
 public:
  enum class Level { kQuiet, kNormal, kVerbose };

  explicit Notices(Level level = Level::kNormal) : level_(level) {}

  /// "tamis: <message>", unless quiet.
  void say(std::string_view message) const;
  /// "3 ill-formed UTF-8 sequences in <where> were replaced by U+FFFD"; nothing for 0.
  void say_replaced(size_t count, std::string_view where) const;
  /// The same, but only with --verbose.
  void detail(std::string_view message) const;
  /// For the library: what is at least as important as that, and everything with --verbose.
  LogSink sink(LogLevel least = LogLevel::kWarning) const;

 private:
  Level level_;
};

/// 1234567 → "1,234,567".
std::string grouped(unsigned long long value);

}  // namespace tamis::cli
