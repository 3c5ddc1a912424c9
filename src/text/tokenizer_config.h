#pragma once

// tokenizer_config.json and special_tokens_map.json, both optional.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"

namespace tamis::text {

/// What the two files say; the first named wins where both do.
class TokenizerConfig {
 public:
  /// Errors: data_loss (a file that is there but is not a JSON object), unavailable.
  static TokenizerConfig read(const std::filesystem::path& directory);

  /// A token's text, given as a string or as {"content": ...}. Errors: data_loss.
  std::optional<std::string> token(std::string_view name) const;
  std::optional<bool> flag(std::string_view name) const;
  /// 0 if absent or absurd: HF writes 1e30 for "none".
  size_t model_max_length() const;

 private:
  std::optional<io::JsonDocument> config_;
  std::optional<io::JsonDocument> map_;
};

}  // namespace tamis::text
