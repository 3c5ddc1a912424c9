#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/types.h"

namespace tamis {

/// How a pair that is longer than max_length is cut.
enum class PairTruncation {
  kFlagEmbedding,  ///< query to 3/4 of max_length, then the end of the passage (the reranker's
                   ///< rule)
  kOnlySecond,     ///< the end of the passage alone; an error if that is not enough
  kLongestFirst,   ///< the longer of both, as Hugging Face does it
};

struct TokenizedInput {
  std::vector<int32_t> ids;       ///< with special tokens
  std::vector<int32_t> type_ids;  ///< 0 or 1 for each id
  bool truncated = false;
  size_t utf8_replacements = 0;
};

/// A model's tokenizer by itself. Thread rule: const calls may run at the same time.
class Tokenizer {
 public:
  /// Errors: not_found, data_loss, unimplemented (a component that Tamis does not know).
  static Tokenizer load(const std::filesystem::path& model_directory, const LogSink& log = {});
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// max_length counts special tokens; 0 = no limit.
  TokenizedInput encode(std::string_view text, size_t max_length = 0) const;
  TokenizedInput encode_pair(std::string_view query, std::string_view passage,
                             size_t max_length = 0,
                             PairTruncation truncation = PairTruncation::kFlagEmbedding) const;

  size_t vocab_size() const;
  std::string_view id_to_token(int32_t id) const;     ///< empty if there is no such id
  int32_t token_to_id(std::string_view token) const;  ///< -1 if there is no such token
  /// The text of ids, special tokens included; ids that do not exist are left out.
  /// Errors: unimplemented (a decoder that Tamis does not know).
  std::string decode(std::span<const int32_t> ids) const;
  std::string_view model_type() const;  ///< "Unigram" or "WordPiece"

 private:
  friend struct TokenizerAccess;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis
