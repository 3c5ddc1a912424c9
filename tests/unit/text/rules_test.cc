// The rules of Hugging Face's pipeline that other re-implementations got wrong, one by one.

#include <gtest/gtest.h>

#include "small_tokenizers.h"

namespace tamis::text {
namespace {

constexpr const char* kMetaspace = R"({"type":"Metaspace","replacement":"▁")";
constexpr int32_t kA = 1, kMark = 3, kMarkA = 4;

Parts with_metaspace(const std::string& options) {
  Parts parts;
  parts.pre_tokenizer = kMetaspace + options + "}";
  return parts;
}

TEST(Metaspace, PrependsUnlessTheMarkIsThereAlready) {
  const auto tokenizer = make(with_metaspace(R"(,"prepend_scheme":"always")"));
  EXPECT_EQ(encode(*tokenizer, "a"), (Ids{kMarkA}));
  EXPECT_EQ(encode(*tokenizer, " a"), (Ids{kMarkA}));
  EXPECT_EQ(encode(*tokenizer, "▁a"), (Ids{kMarkA}));
  EXPECT_EQ(encode(*tokenizer, "  a"), (Ids{kMark, kMarkA}));
  EXPECT_EQ(encode(*tokenizer, ""), (Ids{}));
}

TEST(Metaspace, PrependSchemeRulesNotTheLegacyField) {
  // A file may say add_prefix_space true and "first"; the scheme decides (DEPS: swift-transformers
  // had it the other way round).
  const std::string both = R"(,"add_prefix_space":true,"prepend_scheme":"never","str_rep":"▁")";
  EXPECT_EQ(encode(*make(with_metaspace(both)), "a"), (Ids{kA}));
  EXPECT_EQ(
      encode(*make(with_metaspace(R"(,"add_prefix_space":false,"prepend_scheme":"never")")), "a"),
      (Ids{kA}));
  expect_error(ErrorCode::kDataLoss, "prepend_scheme",
               [] { make(with_metaspace(R"(,"add_prefix_space":false)")); });
  expect_error(ErrorCode::kDataLoss, "prepend_scheme",
               [] { make(with_metaspace(R"(,"prepend_scheme":"often")")); });
  expect_error(ErrorCode::kDataLoss, "replacement", [] {
    Parts parts;
    parts.pre_tokenizer = R"({"type":"Metaspace","replacement":"ab"})";
    make(parts);
  });
}

TEST(Metaspace, FirstMeansTheStartOfTheInputNotOfThePiece) {
  Parts parts = with_metaspace(R"(,"prepend_scheme":"first")");
  parts.added_tokens = R"([{"id":5,"content":"<x>","special":true,"normalized":false}])";
  EXPECT_EQ(encode(*make(parts), "a<x>a"), (Ids{kMarkA, 5, kA}));
  EXPECT_EQ(encode(*make(parts), "<x>a"), (Ids{5, kA}));
  // What Strip cut off was the start, so nothing is at the start any more.
  parts.normalizer = R"({"type":"Strip","strip_left":true,"strip_right":false})";
  EXPECT_EQ(encode(*make(parts), "a"), (Ids{kMarkA}));
  EXPECT_EQ(encode(*make(parts), " a"), (Ids{kA}));
}

TEST(TrailingSpace, GivesAMarkUnlessItIsStripped) {
  // The one difference between bge-m3's and bge-reranker-v2-m3's files that shows.
  Parts m3 = with_metaspace("");
  m3.normalizer = R"({"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "})";
  EXPECT_EQ(encode(*make(m3), "a "), (Ids{kMarkA, kMark}));
  EXPECT_EQ(encode(*make(m3), "a   "), (Ids{kMarkA, kMark}));
  EXPECT_EQ(encode(*make(m3), "a   a"), (Ids{kMarkA, kMarkA}));
  Parts reranker = with_metaspace("");
  reranker.normalizer =
      R"({"type":"Sequence","normalizers":[{"type":"Strip","strip_left":false,"strip_right":true},)"
      R"({"type":"Replace","pattern":{"Regex":" {2,}"},"content":"▁"}]})";
  EXPECT_EQ(encode(*make(reranker), "a   "), (Ids{kMarkA}));
  EXPECT_EQ(encode(*make(reranker), "a   a"), (Ids{kMarkA, kMarkA}));
}

TEST(Template, HasXlmRobertasPairForm) {
  Parts parts;
  parts.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"s","type_id":0}},)"
      R"({"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}}],)"
      R"("pair":[{"SpecialToken":{"id":"s","type_id":0}},{"Sequence":{"id":"A","type_id":0}},)"
      R"({"SpecialToken":{"id":"e","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}},)"
      R"({"Sequence":{"id":"B","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}}],)"
      R"("special_tokens":{"s":{"id":"s","ids":[3],"tokens":["s"]},"e":{"id":"e","ids":[4],"tokens":["e"]}}})";
  const auto tokenizer = make(parts);
  EXPECT_EQ(tokenizer->single_overhead(), 2u);
  EXPECT_EQ(tokenizer->pair_overhead(), 4u);
  EXPECT_EQ(tokenizer->build_single(Ids{1}).ids, (Ids{3, 1, 4}));
  const Encoding pair = tokenizer->build_pair(Ids{1, 1}, Ids{2});
  EXPECT_EQ(pair.ids, (Ids{3, 1, 1, 4, 4, 2, 4}));
  EXPECT_EQ(pair.type_ids, (Ids{0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(tokenizer->build_pair({}, {}).ids, (Ids{3, 4, 4, 4}));
}

TEST(Template, ProcessorsOfBertAndRobertaAndNone) {
  Parts parts;
  EXPECT_EQ(make(parts)->build_pair(Ids{1}, Ids{2}).type_ids, (Ids{0, 1}));
  parts.post_processor = R"({"type":"BertProcessing","sep":["e",4],"cls":["s",3]})";
  EXPECT_EQ(make(parts)->build_pair(Ids{1}, Ids{2}).ids, (Ids{3, 1, 4, 2, 4}));
  EXPECT_EQ(make(parts)->build_pair(Ids{1}, Ids{2}).type_ids, (Ids{0, 0, 0, 1, 1}));
  parts.post_processor = R"({"type":"RobertaProcessing","sep":["e",4],"cls":["s",3],)"
                         R"("trim_offsets":true,"add_prefix_space":true})";
  EXPECT_EQ(make(parts)->build_pair(Ids{1}, Ids{2}).ids, (Ids{3, 1, 4, 4, 2, 4}));
  EXPECT_EQ(make(parts)->build_pair(Ids{1}, Ids{2}).type_ids, (Ids{0, 0, 0, 0, 0, 0}));
}

TEST(Template, RefusesIdsOutsideTheVocabulary) {
  Parts parts;
  for (const char* id : {"5", "-1", "4294967296"}) {
    parts.post_processor =
        fmt::format(R"({{"type":"BertProcessing","sep":["e",{}],"cls":["s",3]}})", id);
    expect_error(ErrorCode::kDataLoss, "post_processor", [&] { make(parts); });
  }
  const char* const pieces[] = {R"({"SpecialToken":{"id":"s","type_id":0}})",
                                R"({"Sequence":{"id":"B","type_id":0}})",
                                R"({"Sequence":{"id":"C","type_id":0}})",
                                R"({"Sequence":{"id":"A","type_id":-1}})",
                                R"({"Other":1})",
                                "1"};
  for (const char* piece : pieces) {
    parts.post_processor = fmt::format(
        R"({{"type":"TemplateProcessing","single":[{}],"pair":[],"special_tokens":{{}}}})", piece);
    expect_error(ErrorCode::kDataLoss, "test.json", [&] { make(parts); });
  }
}

TEST(OwnTruncationAndPadding, OfTheFileAreNotApplied) {
  std::string json = tokenizer_json(Parts{});
  const auto put = [&json](std::string_view key, std::string_view value) {
    const std::string from = fmt::format("\"{}\":null", key);
    json.replace(json.find(from), from.size(), fmt::format("\"{}\":{}", key, value));
  };
  put("truncation", R"({"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":0})");
  put("padding",
      R"({"strategy":{"Fixed":8},"direction":"Right","pad_id":0,"pad_type_id":0,"pad_token":"p"})");
  EXPECT_EQ(encode(*Tokenizer::from_json(json, "test.json"), "aaabb"), (Ids{1, 1, 1, 2, 2}));
}

TEST(WordPiece, TakesTheLongestPieceAtEachPlace) {
  Parts parts;
  parts.model = wordpiece({"[UNK]", "un", "##a", "##aff", "##ab", "##able", "u", "##able##"});
  EXPECT_EQ(encode(*make(parts), "unaffable"), (Ids{1, 3, 5}));
  EXPECT_EQ(encode(*make(parts), "unaffx"), (Ids{0}));  // all of it, not only the rest
  EXPECT_EQ(encode(*make(parts), "xun"), (Ids{0}));
}

TEST(WordPiece, CountsCharactersNotBytes) {
  Parts parts;
  parts.model = wordpiece({"[UNK]", "é", "##é"}, 3);
  EXPECT_EQ(encode(*make(parts), "ééé"), (Ids{1, 2, 2}));
  EXPECT_EQ(encode(*make(parts), "éééé"), (Ids{0}));
}

TEST(WordPiece, IdsMayHaveGaps) {
  Parts parts;
  parts.model = R"({"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",)"
                R"("max_input_chars_per_word":9,"vocab":{"b":7,"[UNK]":100,"a":3}})";
  const auto tokenizer = make(parts);
  EXPECT_EQ(encode(*tokenizer, "a"), (Ids{3}));
  EXPECT_EQ(tokenizer->vocab_size(), 101u);
  EXPECT_EQ(tokenizer->id_to_token(7), "b");
  EXPECT_EQ(tokenizer->id_to_token(100), "[UNK]");
  for (const int32_t id : {-1, 0, 8, 101, 1 << 30}) EXPECT_EQ(tokenizer->id_to_token(id), "");
  EXPECT_EQ(tokenizer->token_to_id("a"), 3);
  EXPECT_EQ(tokenizer->token_to_id("c"), -1);
}

TEST(WordPiece, RefusesATableThatCannotBe) {
  Parts parts;
  parts.model = wordpiece({"a"});
  expect_error(ErrorCode::kDataLoss, "[UNK]", [&] { make(parts); });
  for (const char* id : {"-1", "268435455", "9223372036854775807", "1.5", "\"1\""}) {
    parts.model =
        fmt::format(R"({{"type":"WordPiece","unk_token":"a","continuing_subword_prefix":"##",)"
                    R"("max_input_chars_per_word":9,"vocab":{{"a":{}}}}})",
                    id);
    expect_error(ErrorCode::kDataLoss, "test.json", [&] { make(parts); });
  }
}

TEST(Bert, StripAccentsFollowsLowercaseUnlessItIsSet) {
  Parts parts;
  parts.model = wordpiece({"[UNK]", "e", "é", "E", "É"});
  const auto ids = [&parts](const char* strip_accents, const char* lowercase) {
    parts.normalizer =
        fmt::format(R"({{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,)"
                    R"("strip_accents":{},"lowercase":{}}})",
                    strip_accents, lowercase);
    return encode(*make(parts), "É");
  };
  EXPECT_EQ(ids("null", "true"), (Ids{1}));
  EXPECT_EQ(ids("null", "false"), (Ids{4}));
  EXPECT_EQ(ids("true", "false"), (Ids{3}));
  EXPECT_EQ(ids("false", "true"), (Ids{2}));
}

TEST(UnknownComponents, AreNamed) {
  const auto refused = [](std::string Parts::*part, const char* json, const char* name) {
    Parts parts;
    parts.*part = json;
    expect_error(ErrorCode::kUnimplemented, name, [&] { make(parts); });
  };
  refused(&Parts::model, R"({"type":"BPE","vocab":{},"merges":[]})", "BPE");
  refused(&Parts::normalizer, R"({"type":"ByteLevel"})", "ByteLevel");
  refused(&Parts::normalizer, R"({"type":"Sequence","normalizers":[{"type":"Odd"}]})", "Odd");
  refused(&Parts::normalizer, R"({"type":"Replace","pattern":{"Regex":"x|y"},"content":""})",
          "x|y");
  refused(&Parts::pre_tokenizer, R"({"type":"Split"})", "Split");
  refused(&Parts::post_processor, R"({"type":"Odd"})", "Odd");
}

}  // namespace
}  // namespace tamis::text
