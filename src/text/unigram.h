#pragma once

// The Unigram model: the most likely cut of a text into pieces, by Viterbi.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/model.h"
#include "text/vocabulary.h"

namespace tamis::text {

/// Ties go to the path found first, unknown characters cost 10 more than the worst piece and
/// neighbouring ones become a single unknown token: as Hugging Face `tokenizers` does it.
class Unigram final : public Model {
 public:
  /// Pieces get the ids 0, 1, ... Errors: data_loss if unk_id is none of them.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, int64_t unk_id,
          std::string_view where);
  static std::unique_ptr<Unigram> from_json(const io::JsonValue& model, std::string_view where);

  std::string_view type() const override { return "Unigram"; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int32_t unknown_id() const override { return unk_id_; }
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const override;

 private:
  void backtrack(std::string_view piece, const Scratch& scratch, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;  // by id
  double unknown_score_ = 0;
  int32_t unk_id_ = 0;
};

/// The double that HF's JSON reader (serde_json without float_roundtrip) makes of the shortest
/// decimal form of `exact`: its digits as an integer, then one division or multiplication. For a
/// quarter of XLM-R's scores that is one unit in the last place off, which decides near ties.
double as_serde_reads(double exact);

}  // namespace tamis::text
