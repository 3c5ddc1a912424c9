#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tamis/session.h"

namespace tamis {

/// Requests as the model will see them: pairs for a cross-encoder, single texts for an embedder.
class ModelInputs {
 public:
  ModelInputs(const text::Tokenizer& tokenizer, bool pairs, size_t max_length)
      : tokenizer_(tokenizer), pairs_(pairs), max_length_(max_length) {}

  /// Nothing more is added once there are `limit` tokens.
  void add(std::string_view query, std::span<const std::string> passages, size_t limit);
  std::vector<SequenceView> views() const { return inputs_.views(); }
  size_t tokens() const { return tokens_; }
  size_t sequences() const { return inputs_.size(); }

 private:
  void add_single(std::vector<int32_t> ids);
  void keep(text::Encoding encoding);

  const text::Tokenizer& tokenizer_;
  bool pairs_;
  size_t max_length_;
  Inputs inputs_;
  size_t tokens_ = 0;
};

}  // namespace tamis
