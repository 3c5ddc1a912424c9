#include "ranks.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/fail.h"

namespace tamis::cli {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::optional<int> number(const char* name) {
  const auto text = variable(name);
  if (!text) return std::nullopt;
  int out = 0;
  const char* end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, out);
  if (error != std::errc() || at != end) {
    fail(ErrorCode::kInvalidArgument,
         "environment variable {}: expected a whole number, got \"{}\"", name, *text);
  }
  return out;
}

}  // namespace

TrainRanks ranks_of_environment() {
  TrainRanks out;
  const auto size = number("WORLD_SIZE");
  if (!size || *size == 1) return out;
  const auto rank = number("RANK");
  const auto address = variable("MASTER_ADDR");
  const auto port = number("MASTER_PORT");
  if (!rank || !address || !port) {
    fail(ErrorCode::kInvalidArgument, "environment variable WORLD_SIZE is {}; expected {} as well",
         *size,
         !rank      ? "RANK"
         : !address ? "MASTER_ADDR"
                    : "MASTER_PORT");
  }
  out.size = *size;
  out.rank = *rank;
  out.address = *address;
  // torchrun listens at the port itself, for a store that is not ours.
  out.port = *port + (variable("TORCHELASTIC_USE_AGENT_STORE") == "True" ? 1 : 0);
  return out;
}

std::string device_of_environment(const std::string& device) {
  const auto local = number("LOCAL_RANK");
  return device == "cuda" && local ? "cuda:" + std::to_string(*local) : device;
}

}  // namespace tamis::cli
