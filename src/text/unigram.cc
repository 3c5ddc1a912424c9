#include "text/unigram.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/fail.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

constexpr double kUnknownPenalty = 10.0;

}  // namespace

double as_serde_reads(double exact) {
  if (exact == 0 || !std::isfinite(exact)) return exact;
  std::array<char, 32> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), std::abs(exact),
                                     std::chars_format::scientific);
  uint64_t digits = 0;
  int exponent = 0;
  const char* p = text.data();
  bool fraction = false;
  for (; p != written.ptr && *p != 'e'; ++p) {
    if (*p == '.') {
      fraction = true;
      continue;
    }
    digits = digits * 10 + static_cast<uint64_t>(*p - '0');
    exponent -= fraction;
  }
  int written_exponent = 0;
  if (p != written.ptr) ++p;  // 'e'
  if (p != written.ptr && *p == '+') ++p;
  std::from_chars(p, written.ptr, written_exponent);
  exponent += written_exponent;

  // serde_json's table of powers holds the nearest double of each, as from_chars gives it.
  static constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  const int size = std::abs(exponent);
  if (size > 308) return exact;  // beyond that table; no score is so small
  double power = 0;
  if (static_cast<size_t>(size) < std::size(kPowers)) {
    power = kPowers[size];
  } else {
    text[0] = '1';
    text[1] = 'e';
    const auto end = std::to_chars(&text[2], text.data() + text.size(), size).ptr;
    std::from_chars(text.data(), end, power);
  }
  const auto value = static_cast<double>(digits);
  return std::copysign(exponent < 0 ? value / power : value * power, exact);
}

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, int64_t unk_id,
                 std::string_view where)
    : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)) {
  if (unk_id < 0 || unk_id >= static_cast<int64_t>(scores_.size())) {
    fail(ErrorCode::kDataLoss, "{}: model.unk_id is {}, expected 0 to {}", where, unk_id,
         static_cast<int64_t>(scores_.size()) - 1);
  }
  unk_id_ = static_cast<int32_t>(unk_id);
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
}

std::unique_ptr<Unigram> Unigram::from_json(const io::JsonValue& model, std::string_view where) {
  if (model.boolean_or("byte_fallback", false)) {
    fail(ErrorCode::kUnimplemented, "{}: model.byte_fallback is true; Tamis has it not", where);
  }
  const auto unk_id = model.find("unk_id");
  if (!unk_id) {
    fail(ErrorCode::kUnimplemented, "{}: model.unk_id is missing: unknown text would have no id",
         where);
  }
  const auto pieces = model.at("vocab").elements("model.vocab");
  Vocabulary vocabulary;
  vocabulary.reserve(pieces.size(), pieces.size() * 10);
  std::vector<double> scores;
  scores.reserve(pieces.size());
  for (const io::JsonValue& piece : pieces) {
    const auto pair = piece.elements("model.vocab entry");
    if (pair.size() != 2) {
      fail(ErrorCode::kDataLoss, "{}: model.vocab entry {} has {} parts, expected token and score",
           where, scores.size(), pair.size());
    }
    vocabulary.add(pair[0].string("model.vocab token"), static_cast<int64_t>(scores.size()), where);
    scores.push_back(as_serde_reads(pair[1].number("model.vocab score")));
  }
  vocabulary.seal();
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores),
                                   unk_id->integer("model.unk_id"), where);
}

void Unigram::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  scratch.assign(piece.size() + 1, Node{0, 0, 0});
  Node* const nodes = scratch.data();
  const auto offer = [nodes](size_t end, double score, uint32_t length, int32_t id) {
    Node& node = nodes[end];
    if (node.length == 0 || score > node.score) node = {score, length, id};
  };
  for (size_t begin = 0; begin < piece.size();) {
    const double score_here = nodes[begin].score;
    const size_t character = utf8_length(piece[begin]);
    bool covered = false;
    Trie::Cursor cursor = vocabulary_.trie().root();
    for (size_t end = begin; end < piece.size() && cursor.step(piece[end]);) {
      ++end;
      const uint32_t id = cursor.value();
      if (id == Trie::kNone) continue;
      const size_t length = end - begin;
      offer(end, scores_[id] + score_here, static_cast<uint32_t>(length), static_cast<int32_t>(id));
      covered = covered || length == character;
    }
    if (!covered) {
      offer(begin + character, unknown_score_ + score_here, static_cast<uint32_t>(character),
            unk_id_);
    }
    begin += character;
  }
  backtrack(piece, scratch, ids);
}

void Unigram::backtrack(std::string_view piece, const Scratch& scratch,
                        std::vector<int32_t>& ids) const {
  const auto first = static_cast<ptrdiff_t>(ids.size());
  for (size_t end = piece.size(); end > 0;) {
    size_t begin = end - scratch[end].length;
    if (scratch[end].id != unk_id_) {
      ids.push_back(scratch[end].id);
    } else {
      while (begin > 0 && scratch[begin].id == unk_id_) begin -= scratch[begin].length;
      // Unknown characters in a row become one token; their text together may be a piece.
      const int32_t fused = vocabulary_.id(piece.substr(begin, end - begin));
      ids.push_back(fused >= 0 ? fused : unk_id_);
    }
    end = begin;
  }
  std::reverse(ids.begin() + first, ids.end());
}

}  // namespace tamis::text
