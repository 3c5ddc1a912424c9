#include "train/lora.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/fail.h"

namespace tamis::training {
namespace {

constexpr std::string_view kAll = "all-linear";

std::string_view module_of(std::string_view name) {
  constexpr std::string_view kWeight = ".weight";
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  return name;
}

bool matches(const std::string& target, std::string_view module) {
  return target == kAll || target == module || module.ends_with("." + target);
}

}  // namespace

bool is_target(const LoraConfig& lora, Slot slot, const std::string& name) {
  if (std::find(std::begin(kAdaptable), std::end(kAdaptable), slot) == std::end(kAdaptable)) {
    return false;
  }
  return std::any_of(lora.targets.begin(), lora.targets.end(),
                     [&](const std::string& target) { return matches(target, module_of(name)); });
}

void check(const LoraConfig& lora, const std::vector<std::string>& adaptable) {
  if (!(lora.dropout >= 0 && lora.dropout < 1)) {
    fail(ErrorCode::kInvalidArgument, "lora_dropout: expected a number from 0 to below 1, got {}",
         lora.dropout);
  }
  if (lora.targets.empty()) {
    fail(ErrorCode::kInvalidArgument, "target_modules: expected {} or names of modules", kAll);
  }
  for (const std::string& target : lora.targets) {
    if (std::none_of(adaptable.begin(), adaptable.end(),
                     [&](const std::string& name) { return matches(target, module_of(name)); })) {
      std::vector<std::string> ends;  // those of one layer
      for (const std::string& name : adaptable) {
        const std::string module(module_of(name));
        const size_t layer = module.find("layer.");
        const std::string end =
            layer == std::string::npos ? module : module.substr(module.find('.', layer + 6) + 1);
        if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
      }
      fail(ErrorCode::kInvalidArgument,
           "target_modules: no layer has a \"{}\"; there are {}, and {}", target,
           fmt::join(ends, ", "), kAll);
    }
  }
}

}  // namespace tamis::training
