#include "text/tokenizer_config.h"

#include <cmath>

#include "base/fail.h"
#include "io/file_map.h"

namespace tamis::text {
namespace {

constexpr double kLongestBelievable = 1e8;  // tokens; no model reads so many

std::optional<io::JsonDocument> read_if_there(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  auto document = io::JsonDocument::parse(io::read_text_file(path), path.string());
  if (!document.root().is_object()) {
    fail(ErrorCode::kDataLoss, "{}: expected an object", path.string());
  }
  return document;
}

}  // namespace

TokenizerConfig TokenizerConfig::read(const std::filesystem::path& directory) {
  TokenizerConfig out;
  out.config_ = read_if_there(directory / "tokenizer_config.json");
  out.map_ = read_if_there(directory / "special_tokens_map.json");
  return out;
}

std::optional<std::string> TokenizerConfig::token(std::string_view name) const {
  for (const auto* document : {&config_, &map_}) {
    if (!*document) continue;
    const auto value = (*document)->root().find(name);
    if (!value) continue;
    const auto text = value->is_object() ? value->at("content") : *value;
    return std::string(text.string(name));
  }
  return std::nullopt;
}

std::optional<bool> TokenizerConfig::flag(std::string_view name) const {
  if (!config_) return std::nullopt;
  const auto value = config_->root().find(name);
  return value ? std::optional(value->boolean(name)) : std::nullopt;
}

size_t TokenizerConfig::model_max_length() const {
  if (!config_) return 0;
  const double length = config_->root().number_or("model_max_length", 0);
  return length >= 1 && length < kLongestBelievable ? static_cast<size_t>(length) : 0;
}

}  // namespace tamis::text
