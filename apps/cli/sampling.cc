#include "sampling.h"

#include <charconv>

#include <fmt/format.h>

#include "tamis/error.h"

namespace tamis::cli {

RankRange parse_rank_range(std::string_view text) {
  RankRange out;
  const size_t dash = text.find('-');
  const auto number = [](std::string_view part, size_t& to) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), to);
    return error == std::errc() && end == part.data() + part.size();
  };
  if (dash == std::string_view::npos || !number(text.substr(0, dash), out.begin) ||
      !number(text.substr(dash + 1), out.end) || out.begin >= out.end) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("range_for_sampling: expected two ranks as in 10-210, got \"{}\"", text));
  }
  return out;
}

}  // namespace tamis::cli
