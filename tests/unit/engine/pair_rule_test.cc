// FlagEmbedding's pair rule, on ids.

#include "batch/pair_rule.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tamis {
namespace {

using Ids = std::vector<int32_t>;

Ids ids(size_t n, int32_t from = 0) {
  Ids out(n);
  std::iota(out.begin(), out.end(), from);
  return out;
}

struct Cut {
  Ids query, passage;
  bool cut;
};

Cut cut(size_t query, size_t passage, PairLimits limits) {
  Cut out{ids(query), ids(passage, 1000), false};
  out.cut = cut_pair(out.query, out.passage, limits);
  return out;
}

TEST(PairRule, APairThatFitsIsLeftAlone) {
  const Cut got = cut(8, 20, {32, 0, 4});
  EXPECT_FALSE(got.cut);
  EXPECT_EQ(got.query, ids(8));
  EXPECT_EQ(got.passage, ids(20, 1000));
}

TEST(PairRule, ThePassageLosesItsEnd) {
  const Cut got = cut(8, 21, {32, 0, 4});
  EXPECT_TRUE(got.cut);
  EXPECT_EQ(got.query.size(), 8u);
  EXPECT_EQ(got.passage, ids(20, 1000));
}

TEST(PairRule, TheQueryIsCutToThreeQuartersOfTheWholeFirst) {
  const Cut got = cut(100, 10, {32, 0, 4});
  EXPECT_TRUE(got.cut);
  EXPECT_EQ(got.query, ids(24));
  EXPECT_EQ(got.passage, ids(4, 1000));
}

TEST(PairRule, ALongQueryIsCutEvenWhereThePassageIsEmpty) {
  const Cut got = cut(30, 0, {32, 0, 4});
  EXPECT_TRUE(got.cut);
  EXPECT_EQ(got.query.size(), 24u);
}

TEST(PairRule, ThreeQuartersAreRoundedDownAsInPython) {
  EXPECT_EQ(cut(100, 100, {30, 0, 4}).query.size(), 22u);  // 30 * 3 // 4
}

TEST(PairRule, AQueryLimitOfItsOwnReplacesThreeQuarters) {
  EXPECT_EQ(cut(100, 100, {32, 5, 4}).query.size(), 5u);
  EXPECT_EQ(cut(100, 100, {32, 5, 4}).passage.size(), 23u);
}

TEST(PairRule, WhereNothingIsLeftOfThePassageTheQueryIsCutToWhatFits) {
  // FlagEmbedding leaves such a pair over-long: 3/4 of 12 is 9, and 9 + 4 special tokens > 12.
  const Cut got = cut(100, 100, {12, 0, 4});
  EXPECT_EQ(got.query.size(), 8u);
  EXPECT_EQ(got.passage.size(), 0u);
  EXPECT_EQ(cut(9, 9, {4, 0, 4}).query.size(), 0u);
}

TEST(PairRule, NoPairIsEverOverLong) {
  for (size_t max_length = 4; max_length < 40; ++max_length) {
    for (size_t q = 0; q < 50; ++q) {
      for (size_t p = 0; p < 50; p += 7) {
        const Cut got = cut(q, p, {max_length, 0, 4});
        EXPECT_LE(got.query.size() + got.passage.size() + 4, max_length);
        EXPECT_EQ(got.cut, got.query.size() < q || got.passage.size() < p);
      }
    }
  }
}

TEST(SingleRule, KeepsTheBeginning) {
  Ids text = ids(10);
  EXPECT_FALSE(cut_single(text, 12, 2));
  EXPECT_TRUE(cut_single(text, 11, 2));
  EXPECT_EQ(text, ids(9));
  EXPECT_TRUE(cut_single(text, 1, 2));
  EXPECT_TRUE(text.empty());
}

TEST(PairRule, AskedToKeepTheEndItCutsTheBeginningOfThePassage) {
  PairLimits limits{32, 0, 4};
  limits.keep_end = true;
  const Cut got = cut(8, 25, limits);
  EXPECT_TRUE(got.cut);
  EXPECT_EQ(got.query, ids(8));
  EXPECT_EQ(got.passage, ids(20, 1005));
}

TEST(Windows, OneWhereEverythingFits) {
  const Ids all = ids(10);
  ASSERT_EQ(windows(all, 10).size(), 1u);
  EXPECT_EQ(windows(all, 10)[0].size(), 10u);
  EXPECT_EQ(windows({}, 10).size(), 1u);
}

TEST(Windows, CoverEverythingOverlapAndEndFlush) {
  for (size_t n : {11, 100, 1000}) {
    for (size_t room : {1, 2, 10, 64}) {
      if (room >= n) continue;
      const Ids all = ids(n);
      const auto got = windows(all, room);
      EXPECT_EQ(got.front().front(), 0);
      EXPECT_EQ(got.back().back(), static_cast<int32_t>(n) - 1);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].size(), room);
        if (i == 0) continue;
        const int32_t step = got[i].front() - got[i - 1].front();
        EXPECT_GT(step, 0);
        EXPECT_LE(step, static_cast<int32_t>(room)) << "a gap";
      }
    }
  }
}

}  // namespace
}  // namespace tamis
