#include "text/wordpiece.h"

#include "base/fail.h"
#include "text/utf8.h"

namespace tamis::text {

WordPiece::WordPiece(Vocabulary vocabulary, const Options& options, std::string_view where)
    : vocabulary_(std::move(vocabulary)),
      prefix_(options.prefix),
      max_characters_(options.max_characters),
      unk_id_(vocabulary_.id(options.unk_token)) {
  if (unk_id_ < 0) {
    fail(ErrorCode::kDataLoss, "{}: the unknown token \"{}\" is not in the vocabulary", where,
         options.unk_token);
  }
}

std::unique_ptr<WordPiece> WordPiece::from_json(const io::JsonValue& model,
                                                std::string_view where) {
  Options options;
  options.unk_token = model.at("unk_token").string("model.unk_token");
  options.prefix = model.at("continuing_subword_prefix").string("model.continuing_subword_prefix");
  const int64_t limit =
      model.at("max_input_chars_per_word").integer("model.max_input_chars_per_word");
  if (limit < 0) {
    fail(ErrorCode::kDataLoss, "{}: model.max_input_chars_per_word is {}", where, limit);
  }
  options.max_characters = static_cast<size_t>(limit);
  const auto tokens = model.at("vocab").members("model.vocab");
  Vocabulary vocabulary;
  vocabulary.reserve(tokens.size(), tokens.size() * 8);
  for (const auto& [token, id] : tokens) {
    vocabulary.add(token, id.integer("model.vocab id"), where);
  }
  vocabulary.seal();
  return std::make_unique<WordPiece>(std::move(vocabulary), options, where);
}

void WordPiece::encode(std::string_view piece, Scratch&, std::vector<int32_t>& ids) const {
  const size_t first = ids.size();
  const auto give_up = [&] {
    ids.resize(first);
    ids.push_back(unk_id_);
  };
  if (piece.size() > max_characters_ && utf8_count(piece) > max_characters_) return give_up();

  for (size_t begin = 0; begin < piece.size();) {
    Trie::Cursor cursor = vocabulary_.trie().root();
    if (begin > 0 && !cursor.walk(prefix_)) return give_up();
    uint32_t longest = Trie::kNone;
    size_t longest_end = begin;
    for (size_t end = begin; end < piece.size() && cursor.step(piece[end]);) {
      ++end;
      if (cursor.value() != Trie::kNone) {
        longest = cursor.value();
        longest_end = end;
      }
    }
    if (longest == Trie::kNone) return give_up();
    ids.push_back(static_cast<int32_t>(longest));
    begin = longest_end;
  }
}

}  // namespace tamis::text
