#pragma once

// Text to token ids, exactly as Hugging Face `tokenizers` does it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/log.h"

namespace tamis::text {

/// Ids and token types of one model input.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;  ///< same length as ids
};

/// What tokenizer_config.json and special_tokens_map.json say beyond the pipeline itself.
struct SpecialTokens {
  int32_t bos = -1, eos = -1, cls = -1, sep = -1, pad = -1, unk = -1, mask = -1;  ///< -1: none
};

/// A tokenizer: normaliser, pre-tokenizer, Unigram or WordPiece model, added tokens, template.
/// Immutable after load. Thread rule: const calls may run at the same time, without locks.
class Tokenizer {
 public:
  /// Reads tokenizer.json, or else sentencepiece.bpe.model (XLM-RoBERTa's fairseq ids), or else
  /// vocab.txt (BERT; tokenizer_config.json's do_lower_case, strip_accents,
  /// tokenize_chinese_chars). Errors: not_found (lists what was looked for); data_loss (damaged, or
  /// a table that points outside itself); unimplemented (a component of the pipeline that Tamis
  /// does not know: named).
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& directory,
                                               const LogSink& log = {});
  static std::shared_ptr<const Tokenizer> from_json(std::string_view tokenizer_json,
                                                    std::string_view where);
  static std::shared_ptr<const Tokenizer> from_sentencepiece(std::string_view model_proto,
                                                             std::string_view where);
  virtual ~Tokenizer() = default;

  /// Appends the ids of `text` without special tokens of the template. Added tokens that stand in
  /// the text are matched, as HF does. Invalid UTF-8 is replaced by U+FFFD, one for each maximal
  /// ill-formed part (as Python's errors="replace"). Never throws on any text.
  /// Returns the number of replacements made.
  virtual size_t encode(std::string_view text, std::vector<int32_t>& ids) const = 0;

  /// Puts the template's special tokens around ids (`<s> a </s>`, `[CLS] a [SEP]`, ...).
  virtual Encoding build_single(std::span<const int32_t> a) const = 0;
  virtual Encoding build_pair(std::span<const int32_t> a, std::span<const int32_t> b) const = 0;
  /// How many special tokens the templates add.
  virtual size_t single_overhead() const = 0;
  virtual size_t pair_overhead() const = 0;

  virtual size_t vocab_size() const = 0;  ///< added tokens included; largest id + 1
  /// Empty if there is no such id / -1 if there is no such token.
  virtual std::string_view id_to_token(int32_t id) const = 0;
  virtual int32_t token_to_id(std::string_view token) const = 0;
  /// The text of ids, special tokens included; ids that do not exist are left out.
  /// Errors: unimplemented (a decoder that Tamis does not know: named).
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  virtual const SpecialTokens& special_tokens() const = 0;
  /// "Unigram" or "WordPiece".
  virtual std::string_view model_type() const = 0;
  /// tokenizer_config.json's model_max_length; 0 if absent or absurd (HF writes 1e30 for "none").
  virtual size_t model_max_length() const = 0;
};

}  // namespace tamis::text
