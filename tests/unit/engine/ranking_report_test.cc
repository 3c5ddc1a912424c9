// compare_rankings against values reckoned by hand, and Kendall's tau-b against its definition.

#include "engine/ranking_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tamis/error.h"

namespace tamis {
namespace {

RankingReport compare(std::vector<float> reference, std::vector<float> other,
                      std::vector<double> relevance = {}) {
  const ScoredRequest request{std::move(reference), std::move(other), std::move(relevance)};
  return compare_rankings(std::span(&request, 1));
}

TEST(RankingReport, TheSameScoresAgreeInEverything) {
  const RankingReport r = compare({3, 1, 2}, {3, 1, 2}, {1, 0, 0});
  EXPECT_EQ(r.kendall, 1);
  EXPECT_EQ(r.spearman, 1);
  EXPECT_EQ(r.top1, 1);
  EXPECT_EQ(r.top10, 1);
  EXPECT_EQ(r.max_delta, 0);
  EXPECT_EQ(r.ndcg10_reference, 1);
  EXPECT_EQ(r.ndcg10_other, 1);
}

TEST(RankingReport, OneSwapOfThree) {
  const RankingReport r = compare({3, 2, 1}, {3, 1, 2}, {0, 1, 0});
  EXPECT_NEAR(r.kendall, 1.0 / 3, 1e-12);  // two pairs agree, one does not
  EXPECT_NEAR(r.spearman, 0.5, 1e-12);     // 1 - 6 (0 + 1 + 1) / (3 (9 - 1))
  EXPECT_EQ(r.top1, 1);
  EXPECT_EQ(r.max_delta, 1);
  EXPECT_NEAR(r.mean_delta, 2.0 / 3, 1e-12);
  EXPECT_NEAR(r.ndcg10_reference, 1 / std::log2(3.0), 1e-12);  // rank 2
  EXPECT_NEAR(r.ndcg10_other, 1 / std::log2(4.0), 1e-12);      // rank 3
}

TEST(RankingReport, TenOfElevenOverlap) {
  std::vector<float> a, b;
  for (int i = 0; i < 11; ++i) a.push_back(static_cast<float>(-i));
  b = a;
  std::swap(b[9], b[10]);
  EXPECT_NEAR(compare(a, b).top10, 0.9, 1e-12);
}

/// tau-b by its definition, all pairs.
double slow_tau(const std::vector<float>& a, const std::vector<float>& b) {
  double agree = 0, ties_a = 0, ties_b = 0, all = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const int x = (a[i] > a[j]) - (a[i] < a[j]), y = (b[i] > b[j]) - (b[i] < b[j]);
      agree += x * y;
      ties_a += x == 0;
      ties_b += y == 0;
      ++all;
    }
  }
  if (ties_a == all || ties_b == all) return 1;
  return agree / std::sqrt((all - ties_a) * (all - ties_b));
}

TEST(RankingReport, KendallEqualsItsDefinitionWithTies) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<float> a(2 + random() % 30), b(a.size());
    for (float& x : a) x = static_cast<float>(random() % 6);
    for (float& x : b) x = static_cast<float>(random() % 6);
    ASSERT_NEAR(compare(a, b).kendall, slow_tau(a, b), 1e-12) << "round " << round;
  }
}

TEST(RankingReport, RequestsOfOnePassageCountForTheChangeAlone) {
  const RankingReport r = compare({1}, {1.5f});
  EXPECT_EQ(r.requests, 1U);
  EXPECT_EQ(r.max_delta, 0.5);
  EXPECT_EQ(r.kendall, 1);
  EXPECT_EQ(r.judged, 0U);
}

TEST(RankingReport, NaNAndDifferentLengthsAreRefused) {
  EXPECT_THROW(compare({1, NAN}, {1, 2}), Error);
  EXPECT_THROW(compare({1, 2}, {1}), Error);
  EXPECT_THROW(compare({1, 2}, {1, 2}, {1}), Error);
}

}  // namespace
}  // namespace tamis
