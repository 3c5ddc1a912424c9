#pragma once

#include <functional>
#include <string_view>

namespace tamis {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Where messages go. The library itself never prints; an empty sink drops them.
/// Thread rule: may be called from any thread, one call at a time per model.
using LogSink = std::function<void(LogLevel, std::string_view)>;

}  // namespace tamis
