#pragma once

// Reading sentencepiece.bpe.model, a protocol buffer, without that library.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tamis::text {

/// The parts of a sentencepiece ModelProto that matter here.
struct SentencePieceModel {
  enum class PieceType {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string_view text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;
  std::string_view charsmap;
  int64_t model_type = 1;  ///< 1 = Unigram
  bool add_dummy_prefix = true;

  /// Views point into `proto`. Errors: data_loss for anything that does not parse, or text that is
  /// not UTF-8.
  static SentencePieceModel parse(std::string_view proto, std::string_view where);
};

}  // namespace tamis::text
