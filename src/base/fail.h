#pragma once

// The one way to raise an Error: fail(code, "format {}", args...).

#include <fmt/format.h>

#include <utility>

#include "tamis/error.h"

namespace tamis {

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Drops the message when no sink is set; formats only when one is.
template <class Sink, class Level, class... Args>
void log_to(const Sink& sink, Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (sink) sink(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tamis
