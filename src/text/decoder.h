#pragma once

// Token strings back to text: tokenizer.json's "decoder".

#include <span>
#include <string>
#include <string_view>

#include "io/json.h"

namespace tamis::text {

/// How the strings of tokens become a text. Immutable.
class Decoder {
 public:
  /// Joins them with spaces, as `tokenizers` does without a decoder.
  Decoder() = default;
  static Decoder metaspace(std::string replacement, bool prefix_at_start);
  static Decoder word_piece(std::string prefix, bool cleanup);
  /// Another type than Metaspace and WordPiece is noted, and refused by decode.
  /// Errors: data_loss.
  static Decoder from_json(const io::JsonValue& json, std::string_view where);

  /// Errors: unimplemented (the type of the decoder: named).
  std::string decode(std::span<const std::string_view> tokens) const;

 private:
  enum class Kind { kNone, kMetaspace, kWordPiece, kOther };
  Kind kind_ = Kind::kNone;
  std::string mark_;  ///< of Metaspace what stands for a space, of WordPiece the prefix
  bool flag_ = true;  ///< of Metaspace: the first mark is no space; of WordPiece: clean up
  std::string other_;
};

}  // namespace tamis::text
