#include "text/sentencepiece.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "base/fail.h"
#include "io/utf8.h"

namespace tamis::text {
namespace {

/// Walks the fields of one protocol buffer message.
class Fields {
 public:
  Fields(std::string_view bytes, std::string_view where) : rest_(bytes), where_(where) {}

  /// Steps to the next field; false at the end.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    number = key >> 3;
    wire_ = key & 7;
    switch (wire_) {
      case 0:
        integer_ = varint();
        break;
      case 1:
        bytes_ = take(8);
        break;
      case 2:
        bytes_ = take(varint());
        break;
      case 5:
        bytes_ = take(4);
        break;
      default:
        damaged();
    }
    return true;
  }

  std::string_view bytes() const {
    if (wire_ != 2) damaged();
    return bytes_;
  }
  uint64_t integer() const {
    if (wire_ != 0) damaged();
    return integer_;
  }
  float real() const {
    if (wire_ != 5) damaged();
    uint32_t bits = 0;
    std::memcpy(&bits, bytes_.data(), 4);
    float value = 0;
    std::memcpy(&value, &bits, 4);
    if (!std::isfinite(value)) damaged();
    return value;
  }

  uint64_t number = 0;

 private:
  [[noreturn]] void damaged() const {
    fail(ErrorCode::kDataLoss, "{}: not a sentencepiece model (field {} is damaged)", where_,
         number);
  }

  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      out |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return out;
    }
    damaged();
  }

  std::string_view take(uint64_t count) {
    if (count > rest_.size()) damaged();
    const std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }

  std::string_view rest_;
  std::string_view where_;
  uint64_t wire_ = 0;
  uint64_t integer_ = 0;
  std::string_view bytes_;
};

SentencePieceModel::Piece parse_piece(std::string_view bytes, std::string_view where) {
  SentencePieceModel::Piece piece;
  for (Fields field(bytes, where); field.next();) {
    if (field.number == 1) piece.text = field.bytes();
    if (field.number == 2) piece.score = field.real();
    if (field.number == 3) {
      piece.type = static_cast<SentencePieceModel::PieceType>(field.integer() & 7);
    }
  }
  if (!io::is_utf8(piece.text)) {
    fail(ErrorCode::kDataLoss, "{}: a piece is not valid UTF-8", where);
  }
  return piece;
}

}  // namespace

SentencePieceModel SentencePieceModel::parse(std::string_view proto, std::string_view where) {
  SentencePieceModel model;
  for (Fields field(proto, where); field.next();) {
    if (field.number == 1) model.pieces.push_back(parse_piece(field.bytes(), where));
    if (field.number == 2) {  // trainer_spec
      for (Fields spec(field.bytes(), where); spec.next();) {
        if (spec.number == 3) model.model_type = static_cast<int64_t>(spec.integer());
      }
    }
    if (field.number == 3) {  // normalizer_spec
      for (Fields spec(field.bytes(), where); spec.next();) {
        if (spec.number == 2) model.charsmap = spec.bytes();
        if (spec.number == 3) model.add_dummy_prefix = spec.integer() != 0;
      }
    }
  }
  if (model.pieces.empty()) fail(ErrorCode::kDataLoss, "{}: no pieces in it", where);
  return model;
}

}  // namespace tamis::text
