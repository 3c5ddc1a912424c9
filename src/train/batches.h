#pragma once

// Groups to sequences of ids, and sequences to sub-batches.

#include <span>
#include <string>
#include <vector>

#include "batch/packed_batch.h"
#include "text/tokenizer.h"
#include "train/dataset.h"

namespace tamis::training {

/// What one micro-batch runs through the model: for rerankers the pairs of each group, one group
/// after the other; for embedders the queries, then the passages.
struct Sequences {
  std::vector<text::Encoding> encodings;
  std::vector<double> teacher;  ///< [groups * group size] or empty
  size_t groups = 0;
  size_t group_size = 0;
  std::vector<int32_t> numbers;  ///< of each sequence in its micro-batch, all devices together

  /// Those of a part of the groups.
  Sequences share(size_t begin, size_t end) const;
  size_t tokens(size_t begin, size_t end) const;
  size_t longest() const;
  PackedBatch pack(size_t begin, size_t end, const PositionRule& rule) const;
};

/// FlagEmbedding's rules of lengths: pairs [AbsRerankerTrainDataset.create_one_example] or single
/// texts; never more than the model's own limit.
class Tokenize {
 public:
  Tokenize(const text::Tokenizer& tokenizer, const TrainOptions& options, size_t model_max_length);
  Sequences operator()(std::span<const Group> groups) const;
  /// The most tokens that a sequence can have.
  size_t longest() const;

 private:
  text::Encoding pair(std::span<const int32_t> query, std::string_view passage) const;
  text::Encoding single(std::string_view text, size_t max_length) const;

  const text::Tokenizer& tokenizer_;
  TrainTask task_;
  size_t query_max_len_, passage_max_len_, model_max_length_;
};

}  // namespace tamis::training
