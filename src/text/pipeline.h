#pragma once

// The tokenizer as a row of steps; every loader fills a Pipeline::Config.

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/template.h"
#include "text/tokenizer.h"

namespace tamis::text {

class Pipeline final : public Tokenizer {
 public:
  struct Config {
    NormalizerList normalizers;
    PreTokenizerList pre_tokenizers;
    std::unique_ptr<const Model> model;
    std::vector<AddedToken> added;  ///< with ids
    Template layout;
    Decoder decoder;
  };

  explicit Pipeline(Config config);

  size_t encode(std::string_view text, std::vector<int32_t>& ids) const override;
  Encoding build_single(std::span<const int32_t> a) const override {
    return config_.layout.single(a);
  }
  Encoding build_pair(std::span<const int32_t> a, std::span<const int32_t> b) const override {
    return config_.layout.pair(a, b);
  }
  size_t single_overhead() const override { return config_.layout.single_overhead(); }
  size_t pair_overhead() const override { return config_.layout.pair_overhead(); }

  size_t vocab_size() const override { return id_limit_; }
  std::string_view id_to_token(int32_t id) const override;
  int32_t token_to_id(std::string_view token) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  const SpecialTokens& special_tokens() const override { return specials_; }
  std::string_view model_type() const override { return config_.model->type(); }
  size_t model_max_length() const override { return max_length_; }

  /// Before the tokenizer is shared: what the config files beside it say.
  void set_special_tokens(const SpecialTokens& specials) { specials_ = specials; }
  void set_model_max_length(size_t length) { max_length_ = length; }

  /// Gives ids to tokens in the order of the file, as HF does: the model's own id where the model
  /// knows the string, else the next one behind the vocabulary. `added` ids on entry are the
  /// file's.
  static void assign_ids(const Model& model, std::vector<AddedToken>& added);
  static size_t id_limit(const Model& model, const std::vector<AddedToken>& added);

 private:
  struct Buffers;
  void encode_between(std::string_view part, bool at_start, Buffers& buffers,
                      std::vector<int32_t>& ids) const;

  Config config_;
  AddedTokenFinder raw_finder_;
  AddedTokenFinder normalized_finder_;
  SpecialTokens specials_;
  size_t max_length_ = 0;
  size_t id_limit_ = 0;
};

}  // namespace tamis::text
