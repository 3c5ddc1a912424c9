#pragma once

// Hand-made tokenizers for tests: each part is given as JSON text.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/error.h"
#include "text/tokenizer.h"

namespace tamis::text {

using Ids = std::vector<int32_t>;

struct Parts {
  std::string model =
      R"({"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1],["b",-2],["▁",-3],["▁a",-3.5]]})";
  std::string normalizer = "null";
  std::string pre_tokenizer = "null";
  std::string post_processor = "null";
  std::string added_tokens = "[]";
};

inline std::string tokenizer_json(const Parts& parts) {
  return fmt::format(
      R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":{},"normalizer":{},)"
      R"("pre_tokenizer":{},"post_processor":{},"decoder":null,"model":{}}})",
      parts.added_tokens, parts.normalizer, parts.pre_tokenizer, parts.post_processor, parts.model);
}

inline std::shared_ptr<const Tokenizer> make(const Parts& parts) {
  return Tokenizer::from_json(tokenizer_json(parts), "test.json");
}

inline Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

/// A WordPiece model over `words`, id = place in the list.
inline std::string wordpiece(const std::vector<std::string>& words, int max_characters = 100) {
  std::string vocab;
  for (size_t i = 0; i < words.size(); ++i) {
    vocab += fmt::format("{}\"{}\":{}", i ? "," : "", words[i], i);
  }
  return fmt::format(R"({{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",)"
                     R"("max_input_chars_per_word":{},"vocab":{{{}}}}})",
                     max_characters, vocab);
}

/// Runs `action`, which must throw Error; checks its code and that its message names `part`.
template <class Action>
void expect_error(ErrorCode code, std::string_view part, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one about " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

}  // namespace tamis::text
