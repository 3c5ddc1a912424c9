#include "routes/call.h"

#include <charconv>
#include <limits>

#include <fmt/format.h>

namespace tamis::server {
namespace {

std::optional<int64_t> integer_header(const Headers& headers, std::string_view name, int64_t least,
                                      int64_t most) {
  const std::string_view text = headers.get(name);
  if (text.empty()) return std::nullopt;
  int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed == std::errc() && end == text.data() + text.size() && value >= least &&
      value <= most) {
    return value;
  }
  throw HttpError{400, "invalid_argument",
                  fmt::format("header {}: expected an integer from {} to {}, got \"{}\"", name,
                              least, most, text.substr(0, 40))};
}

}  // namespace

CallControl Call::control() const {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  CallControl out;
  out.stop = request.stop;
  if (const auto priority = integer_header(request.headers, "x-tamis-priority", -kMost, kMost)) {
    out.priority = static_cast<int>(*priority);
  }
  if (const auto limit = integer_header(request.headers, "x-tamis-timeout-ms", 1, kMost)) {
    out.deadline = begun() + std::chrono::milliseconds(*limit);
  }
  return out;
}

std::chrono::steady_clock::time_point Call::begun() const {
  return request.received == std::chrono::steady_clock::time_point{} ? made : request.received;
}

}  // namespace tamis::server
