#include "text/tokenizer_config.h"

#include <cmath>

#include "base/fail.h"
#include "io/file_map.h"

namespace tamis::text {
namespace {

constexpr double kLongestBelievable = 1e8;  // tokens; no model reads so many

/// Writes integers too long for 64 bits as decimal fractions: transformers saves "no limit" as
/// 1000000000000000019884624838656, which the parser refuses.
std::string with_long_integers_as_doubles(std::string_view json) {
  constexpr size_t kMaxDigits = 18;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  bool in_string = false;
  for (size_t at = 0; at < json.size();) {
    const size_t begin = at;
    if (in_string || !is_digit(json[at])) {
      if (json[at] == '\\' && in_string && at + 1 < json.size()) ++at;
      in_string = in_string != (json[begin] == '"');
      out.append(json.substr(begin, ++at - begin));
      continue;
    }
    while (at < json.size() && is_digit(json[at])) ++at;
    out.append(json.substr(begin, at - begin));
    const auto stands = [json](size_t i, std::string_view any) {
      return i < json.size() && any.find(json[i]) != std::string_view::npos;
    };
    const bool part_of_real = stands(at, ".eE") || (begin > 0 && stands(begin - 1, ".eE+"));
    if (!part_of_real && at - begin > kMaxDigits) out.append(".0");
  }
  return out;
}

std::optional<io::JsonDocument> read_if_there(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  auto document = io::JsonDocument::parse(with_long_integers_as_doubles(io::read_text_file(path)),
                                          path.string());
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
