#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

namespace tamis {

/// A device as a user names it.
struct DeviceName {
  std::string kind;  ///< "cpu", "cuda", "sim", "ref", "auto"
  int index = -1;    ///< -1: none, which only "cpu", "ref" and "auto" allow

  std::string text() const;
  auto operator<=>(const DeviceName&) const = default;
};

/// "cpu", "cpu:0", "cuda" (= cuda:0), "cuda:1", "1" (= cuda:1), "sim" (= sim:0), "sim:2", "ref",
/// "auto". Errors: invalid_argument (lists the forms).
DeviceName parse_device_name(std::string_view text);
/// A list with commas: "cuda:0,cuda:1", "cpu,cpu". "auto" stands alone.
/// Errors: invalid_argument (an empty list too).
std::vector<DeviceName> parse_device_names(std::string_view text);

}  // namespace tamis
