#include "text/added_tokens.h"

#include <gtest/gtest.h>

#include "small_tokenizers.h"

namespace tamis::text {
namespace {

constexpr int32_t kNew = 5;  // first id behind the vocabulary of Parts

std::shared_ptr<const Tokenizer> with_added(const std::string& tokens,
                                            const std::string& normalizer = "null") {
  Parts parts;
  parts.added_tokens = "[" + tokens + "]";
  parts.normalizer = normalizer;
  return make(parts);
}

std::string token(const char* content, const char* options = "") {
  return fmt::format(R"({{"id":0,"content":"{}","special":false,"normalized":false{}}})", content,
                     options);
}

TEST(AddedTokens, AreFoundInsideWords) {
  EXPECT_EQ(encode(*with_added(token("<x>")), "a<x>b"), (Ids{1, kNew, 2}));
  EXPECT_EQ(encode(*with_added(token("<x>")), "<x><x>"), (Ids{kNew, kNew}));
}

TEST(AddedTokens, TheLongestAtTheLeftmostPlaceWins) {
  const auto tokenizer = with_added(token("aa") + "," + token("aab") + "," + token("bb"));
  EXPECT_EQ(encode(*tokenizer, "aabb"), (Ids{kNew + 1, 2}));
  EXPECT_EQ(encode(*tokenizer, "aaa"), (Ids{kNew, 1}));
  EXPECT_EQ(encode(*tokenizer, "abb"), (Ids{1, kNew + 2}));
}

TEST(AddedTokens, TakeSpaceAlong) {
  // <mask> of XLM-R is lstrip; "\u3000" is white space as well.
  EXPECT_EQ(encode(*with_added(token("<m>", R"(,"lstrip":true)")), "a \u3000<m> "),
            (Ids{1, kNew, 0}));
  EXPECT_EQ(encode(*with_added(token("<m>", R"(,"rstrip":true)")), "a<m> \n\u3000b"),
            (Ids{1, kNew, 2}));
  EXPECT_EQ(encode(*with_added(token("<m>", R"(,"lstrip":true,"rstrip":true)")), " <m> <m> "),
            (Ids{kNew, kNew}));
}

TEST(AddedTokens, SingleWordNeedsABreakOnBothSides) {
  const auto tokenizer = with_added(token("a", R"(,"single_word":true)"));
  EXPECT_EQ(encode(*tokenizer, "a"), (Ids{1}));
  EXPECT_EQ(encode(*tokenizer, "ab"), (Ids{1, 2}));
  const auto other = with_added(token("cc", R"(,"single_word":true)"));
  EXPECT_EQ(encode(*other, "cc"), (Ids{kNew}));
  EXPECT_EQ(encode(*other, "acc"), (Ids{1, 0}));
  EXPECT_EQ(encode(*other, "cca"), (Ids{0, 1}));
  EXPECT_EQ(encode(*other, "\u00e9cc"), (Ids{0}));
}

TEST(AddedTokens, NormalizedOnesMatchTheirNormalizedForm) {
  const std::string lower = R"({"type":"Lowercase"})";
  const std::string day = R"({"id":0,"content":"DAY","special":false,"normalized":true})";
  EXPECT_EQ(encode(*with_added(day, lower), "a Day"), (Ids{1, 0, kNew}));
  EXPECT_EQ(encode(*with_added(token("DAY"), lower), "aDaya"), (Ids{1, 0, 1, 0, 1}));
  EXPECT_EQ(encode(*with_added(token("DAY"), lower), "aDAYa"), (Ids{1, kNew, 1}));
}

TEST(AddedTokens, GetTheModelsIdOrTheNextOne) {
  // The id in the file does not count, as in Hugging Face `tokenizers`.
  const auto tokenizer = with_added(token("b") + "," + token("<x>") + "," + token("<y>"));
  EXPECT_EQ(tokenizer->token_to_id("b"), 2);
  EXPECT_EQ(tokenizer->token_to_id("<x>"), kNew);
  EXPECT_EQ(tokenizer->token_to_id("<y>"), kNew + 1);
  EXPECT_EQ(tokenizer->id_to_token(kNew), "<x>");
  EXPECT_EQ(tokenizer->vocab_size(), 7u);
}

TEST(AddedTokens, EmptyOrRepeatedOnesDoNoHarm) {
  const auto tokenizer =
      with_added(token("") + "," + token("<x>") + "," + token("<x>", R"(,"lstrip":true)"));
  EXPECT_EQ(encode(*tokenizer, "a <x>"), (Ids{1, kNew}));
}

}  // namespace
}  // namespace tamis::text
