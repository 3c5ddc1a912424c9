#include "text/unigram.h"

#include <gtest/gtest.h>

#include "small_tokenizers.h"

namespace tamis::text {
namespace {

std::shared_ptr<const Tokenizer> unigram(std::string_view vocab, int unk_id = 0) {
  Parts parts;
  parts.model = fmt::format(R"({{"type":"Unigram","unk_id":{},"vocab":[{}]}})", unk_id, vocab);
  return make(parts);
}

TEST(Unigram, TakesTheLikeliestPath) {
  const auto tokenizer = unigram(
      R"(["<unk>",0],["a",0],["b",0],["c",0],["d",0],["cd",1],["ab",2],["abc",5],["abcd",10])");
  EXPECT_EQ(encode(*tokenizer, "abcdacd"), (Ids{8, 1, 5}));
}

TEST(Unigram, OfEqualPathsTheFirstFoundWins) {
  // p|pp and pp|p cost the same; the one that reaches the end from the earlier place came first.
  const auto tokenizer = unigram(R"(["<unk>",0],["p",-1],["pp",-1.5])");
  EXPECT_EQ(encode(*tokenizer, "ppp"), (Ids{1, 2}));
}

TEST(Unigram, UnknownCharactersInARowAreOneToken) {
  const auto tokenizer = unigram(R"(["<unk>",0],["a",-1])");
  EXPECT_EQ(encode(*tokenizer, "xya\u4e2dza"), (Ids{0, 1, 0, 1}));
}

TEST(Unigram, UnknownCharactersCostTenMoreThanTheWorstPiece) {
  // The worst piece costs 25, an unknown character 35: a and an unknown one together 36.
  EXPECT_EQ(encode(*unigram(R"(["<unk>",0],["a",-1],["ab",-25])"), "ab"), (Ids{2}));
  // With 40 for "ab" the unknown character costs 50.
  EXPECT_EQ(encode(*unigram(R"(["<unk>",0],["a",-1],["ab",-40])"), "ab"), (Ids{2}));
  // Where "ab" can be had as a|b, an unknown c does not change that.
  EXPECT_EQ(encode(*unigram(R"(["<unk>",0],["a",-1],["b",-1],["ab",-3])"), "abc"), (Ids{1, 2, 0}));
}

TEST(Unigram, FusedUnknownTextThatIsAPieceGetsItsId) {
  // Every score is far above zero, so that two unknown characters beat the piece "xy".
  const auto tokenizer = unigram(R"(["<unk>",100],["a",100],["xy",100])");
  EXPECT_EQ(encode(*tokenizer, "axya"), (Ids{1, 2, 1}));
}

TEST(Unigram, TheUnknownPieceItselfJoinsItsNeighbours) {
  EXPECT_EQ(encode(*unigram(R"(["<u>",0],["a",-1])"), "x<u>ya"), (Ids{0, 1}));
}

TEST(Unigram, OfEqualPiecesTheLastCounts) {
  EXPECT_EQ(encode(*unigram(R"(["<unk>",0],["a",-1],["b",-1],["a",-9])"), "ab"), (Ids{3, 2}));
}

TEST(Unigram, RefusesWhatItCannotDo) {
  expect_error(ErrorCode::kDataLoss, "unk_id", [] { unigram(R"(["a",0])", 1); });
  expect_error(ErrorCode::kDataLoss, "unk_id", [] { unigram(R"(["a",0])", -1); });
  expect_error(ErrorCode::kDataLoss, "unk_id", [] { unigram("", 0); });
  expect_error(ErrorCode::kDataLoss, "vocab", [] { unigram(R"(["a",0,1])", 0); });
  expect_error(ErrorCode::kDataLoss, "vocab", [] { unigram(R"([1,2])", 0); });
  Parts parts;
  parts.model = R"({"type":"Unigram","unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0]]})";
  expect_error(ErrorCode::kUnimplemented, "byte_fallback", [&] { make(parts); });
  parts.model = R"({"type":"Unigram","unk_id":null,"vocab":[["<unk>",0]]})";
  expect_error(ErrorCode::kUnimplemented, "unk_id", [&] { make(parts); });
}

TEST(AsSerdeReads, MakesTheDoubleOfHuggingFacesReader) {
  // XLM-R's score of "k" as the file has it, and as `tokenizers` 0.23.3 prints it after reading.
  EXPECT_EQ(as_serde_reads(-7.4715776443481445), -7.471577644348144);
  EXPECT_EQ(as_serde_reads(-7.7206902503967285), -7.720690250396728);
  EXPECT_EQ(as_serde_reads(-3.4635426998138428), -3.4635426998138428);
  for (const double exact : {0.0, -0.0, 1.0, -10.0, 0.5, -1e-7, 12345678.0, 1e30, 5e-324}) {
    EXPECT_EQ(as_serde_reads(exact), exact);
  }
}

}  // namespace
}  // namespace tamis::text
