#include "text/decoder.h"

#include <array>
#include <utility>

#include "base/fail.h"

namespace tamis::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

/// As `tokenizers` does it: token by token, in this order.
void clean_up(std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kRules = {
      {{" .", "."},
       {" ?", "?"},
       {" !", "!"},
       {" ,", ","},
       {" ' ", "'"},
       {" n't", "n't"},
       {" 'm", "'m"},
       {" do not", " don't"},
       {" 's", "'s"},
       {" 've", "'ve"},
       {" 're", "'re"}}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

}  // namespace

Decoder Decoder::metaspace(std::string replacement, bool prefix_at_start) {
  Decoder out;
  out.kind_ = Kind::kMetaspace;
  out.mark_ = std::move(replacement);
  out.flag_ = prefix_at_start;
  return out;
}

Decoder Decoder::word_piece(std::string prefix, bool cleanup) {
  Decoder out;
  out.kind_ = Kind::kWordPiece;
  out.mark_ = std::move(prefix);
  out.flag_ = cleanup;
  return out;
}

Decoder Decoder::from_json(const io::JsonValue& json, std::string_view where) {
  if (!json.is_object()) {
    if (json.is_null()) return {};
    fail(ErrorCode::kDataLoss, "{}: decoder is not an object", where);
  }
  const std::string type(json.at("type").string("decoder.type"));
  if (type == "Metaspace") {
    const bool prefix = json.string_or("prepend_scheme", "always") != "never" &&
                        json.boolean_or("add_prefix_space", true);
    return metaspace(json.string_or("replacement", "\u2581"), prefix);
  }
  if (type == "WordPiece") {
    return word_piece(json.string_or("prefix", "##"), json.boolean_or("cleanup", true));
  }
  Decoder out;
  out.kind_ = Kind::kOther;
  out.other_ = type;
  return out;
}

std::string Decoder::decode(std::span<const std::string_view> tokens) const {
  if (kind_ == Kind::kOther) {
    fail(ErrorCode::kUnimplemented,
         "the tokenizer's decoder \"{}\" is not supported; supported are: Metaspace, WordPiece",
         other_);
  }
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string_view rest = tokens[i];
    std::string token;
    if (i > 0 && kind_ == Kind::kWordPiece && rest.starts_with(mark_)) {
      rest.remove_prefix(mark_.size());
    } else if (i > 0 && kind_ != Kind::kMetaspace) {
      token = ' ';
    }
    token += rest;
    if (kind_ == Kind::kMetaspace) replace_all(token, mark_, i == 0 && flag_ ? "" : " ");
    if (kind_ == Kind::kWordPiece && flag_) clean_up(token);
    out += token;
  }
  return out;
}

}  // namespace tamis::text
