#pragma once

// The WordPiece model: longest match first.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/model.h"

namespace tamis::text {

/// A word that cannot be cut into pieces, or is longer than max_characters, is one unknown token.
class WordPiece final : public Model {
 public:
  struct Options {
    std::string unk_token = "[UNK]";
    std::string prefix = "##";  ///< of pieces inside a word
    size_t max_characters = 100;
  };

  /// Errors: data_loss if the vocabulary lacks the unknown token.
  WordPiece(Vocabulary vocabulary, const Options& options, std::string_view where);
  static std::unique_ptr<WordPiece> from_json(const io::JsonValue& model, std::string_view where);

  std::string_view type() const override { return "WordPiece"; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int32_t unknown_id() const override { return unk_id_; }
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const override;

 private:
  Vocabulary vocabulary_;
  std::string prefix_;
  size_t max_characters_;
  int32_t unk_id_;
};

}  // namespace tamis::text
