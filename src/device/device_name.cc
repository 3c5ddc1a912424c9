#include "device/device_name.h"

#include <charconv>

#include "base/fail.h"

namespace tamis {
namespace {

constexpr std::string_view kForms =
    "cpu, cpu:N (a NUMA node), cuda:N or N (a GPU), sim:N (simulated), ref, auto, or several with "
    "commas";

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

int parse_index(std::string_view digits, std::string_view whole) {
  int value = -1;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || value < 0 || digits.front() == '-') {
    fail(ErrorCode::kInvalidArgument, "no device \"{}\"; expected {}", whole, kForms);
  }
  return value;
}

}  // namespace

std::string DeviceName::text() const {
  return index < 0 ? kind : fmt::format("{}:{}", kind, index);
}

DeviceName parse_device_name(std::string_view text) {
  const std::string_view name = trimmed(text);
  if (name == "cpu" || name == "ref" || name == "auto") return {std::string(name), -1};
  if (name == "cuda" || name == "sim") return {std::string(name), 0};
  const size_t colon = name.find(':');
  if (colon == std::string_view::npos) {
    if (name.empty() || name.front() < '0' || name.front() > '9') {
      fail(ErrorCode::kInvalidArgument, "no device \"{}\"; expected {}", name, kForms);
    }
    return {"cuda", parse_index(name, name)};
  }
  const std::string_view kind = name.substr(0, colon), index = name.substr(colon + 1);
  if ((kind != "cpu" && kind != "cuda" && kind != "sim") || index.empty()) {
    fail(ErrorCode::kInvalidArgument, "no device \"{}\"; expected {}", name, kForms);
  }
  return {std::string(kind), parse_index(index, name)};
}

std::vector<DeviceName> parse_device_names(std::string_view text) {
  std::vector<DeviceName> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    out.push_back(parse_device_name(text.substr(begin, comma - begin)));
    begin = comma + 1;
  }
  for (const DeviceName& name : out) {
    if (name.kind == "auto" && out.size() > 1) {
      fail(ErrorCode::kInvalidArgument, "devices \"{}\": auto chooses by itself and stands alone",
           text);
    }
  }
  return out;
}

}  // namespace tamis
