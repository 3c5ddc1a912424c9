// Texts and files that are not what one expects.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <thread>

#include "io/utf8.h"
#include "small_tokenizers.h"

namespace tamis::text {
namespace {

std::shared_ptr<const Tokenizer> xlmr_like() {
  Parts parts;
  parts.normalizer = R"({"type":"Sequence","normalizers":[{"type":"NFKC"},)"
                     R"({"type":"Replace","pattern":{"Regex":" {2,}"},"content":"▁"}]})";
  parts.pre_tokenizer = R"({"type":"Metaspace","replacement":"▁"})";
  parts.added_tokens =
      R"([{"content":"<m>","special":true,"normalized":false,"lstrip":true,"rstrip":true},)"
      R"({"content":"bb","special":false,"normalized":true,"single_word":true}])";
  return make(parts);
}

std::shared_ptr<const Tokenizer> bert_like() {
  Parts parts;
  parts.model = wordpiece({"[UNK]", "a", "##a", "b", "##b", "\u4e2d", ".", "\ufffd"}, 1 << 30);
  parts.normalizer = R"({"type":"BertNormalizer","clean_text":false,"handle_chinese_chars":true,)"
                     R"("strip_accents":true,"lowercase":true})";
  parts.pre_tokenizer = R"({"type":"BertPreTokenizer"})";
  return make(parts);
}

TEST(InvalidUtf8, IsReplacedByMaximalParts) {
  const auto tokenizer = bert_like();
  const auto replacements = [&](std::string_view text) {
    Ids ids;
    return tokenizer->encode(text, ids);
  };
  EXPECT_EQ(replacements("a\u4e2d"), 0u);
  EXPECT_EQ(replacements("\xff"), 1u);
  EXPECT_EQ(replacements("\xe4\xb8"), 1u);  // cut short: one part
  EXPECT_EQ(replacements("\xe4\xb8"
                         "a\x80"),
            2u);
  EXPECT_EQ(replacements("\xed\xa0\x80"), 3u);      // a surrogate: none of its bytes can stay
  EXPECT_EQ(replacements("\xf0\x80\x80\x80"), 4u);  // overlong
  EXPECT_EQ(replacements("\xf5\x80"), 2u);
  EXPECT_EQ(encode(*tokenizer, "a \xff b"), encode(*tokenizer, "a \ufffd b"));
}

TEST(AnyBytes, EncodeAsTheirRepairedTextAndNeverThrow) {
  const auto xlmr = xlmr_like();
  const auto bert = bert_like();
  EXPECT_TRUE(rc::check([&] {
    const auto bytes = *rc::gen::container<std::string>(
        rc::gen::oneOf(rc::gen::arbitrary<char>(),
                       rc::gen::element('a', 'b', ' ', '<', 'm', '>', '\xe2', '\x96', '\x81')));
    std::string repaired;
    const size_t count = io::append_repaired_utf8(repaired, bytes);
    for (const auto* tokenizer : {xlmr.get(), bert.get()}) {
      Ids ids;
      RC_ASSERT(tokenizer->encode(bytes, ids) == count);
      RC_ASSERT(ids == encode(*tokenizer, repaired));
      for (const int32_t id : ids) {
        RC_ASSERT(id >= 0 && static_cast<size_t>(id) < tokenizer->vocab_size());
      }
    }
  }));
}

TEST(Nul, IsACharacterLikeAnyOther) {
  EXPECT_EQ(encode(*xlmr_like(), std::string_view("a\0b", 3)), (Ids{4, 0, 2}));
}

TEST(Encode, AppendsToWhatIsThere) {
  Ids ids{42};
  xlmr_like()->encode("a", ids);
  EXPECT_EQ(ids, (Ids{42, 4}));
}

// Each of these would take minutes if some step were quadratic.
TEST(LongTexts, TakeLinearTime) {
  constexpr size_t kCount = 1 << 20;
  const auto repeated = [](std::string_view unit) {
    std::string out;
    while (out.size() < kCount) out.append(unit);
    return out;
  };
  for (const char* unit : {"a", "ab", " ", "a ", "<m>", "<m> ", "  <m", "bb ", "<", "\u4e2d",
                           "\u0301", "\u0301\u0316", "a\u0301", "\u1100", "\u200d", "\xff", "."}) {
    for (const auto& tokenizer : {xlmr_like(), bert_like()}) {
      Ids ids;
      tokenizer->encode(repeated(unit), ids);
      EXPECT_LE(ids.size(), 2 * kCount) << unit;
    }
  }
}

TEST(Threads, MayShareATokenizer) {
  const auto tokenizer = xlmr_like();
  const std::string text = "a b  ab <m> \u00e9 \ufb01 bb";
  const Ids expected = encode(*tokenizer, text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) count += encode(*tokenizer, text) != expected;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, (std::vector<int>{0, 0, 0, 0}));
}

TEST(HostileFiles, MayNotMultiplyAText) {
  Parts parts;
  std::string steps;
  for (int i = 0; i < 10; ++i) {
    steps += std::string(i ? "," : "") +
             R"({"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaa"})";
  }
  parts.normalizer = R"({"type":"Sequence","normalizers":[)" + steps + "]}";
  expect_error(ErrorCode::kDataLoss, "times longer", [&] { make(parts); });
}

TEST(DamagedFiles, AreDataLoss) {
  for (const char* text :
       {"", "{", "[]", "1", "null", "{}", R"({"model":null})", R"({"model":[]})",
        R"({"model":{"type":"Unigram","unk_id":0}})",
        R"({"model":{"type":"Unigram","unk_id":0,"vocab":{}}})",
        R"({"model":{"type":"WordPiece","vocab":{}}})", R"({"model":{"type":1}})"}) {
    expect_error(ErrorCode::kDataLoss, "x.json", [text] { Tokenizer::from_json(text, "x.json"); });
  }
  const std::string whole = tokenizer_json(Parts{});
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    expect_error(ErrorCode::kDataLoss, "x.json",
                 [&] { Tokenizer::from_json(std::string_view(whole).substr(0, cut), "x.json"); });
  }
}

}  // namespace
}  // namespace tamis::text
