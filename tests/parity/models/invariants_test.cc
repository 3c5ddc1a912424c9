// What must hold for every model: a score does not depend on its neighbours, their order, the batch
// size, the number of threads, or on who else is asking.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "golden.h"
#include "tamis/error.h"
#include "tamis/reranker.h"

namespace tamis {
namespace {

constexpr float kSame = 1e-5f;

/// One query with every passage of a fixture, lengths well mixed.
class Invariants : public testing::TestWithParam<std::string> {
 protected:
  Golden golden_ =
      read_golden(std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models" / GetParam());

  std::vector<std::string_view> passages() const {
    std::vector<std::string_view> out;
    for (const GoldenCase& c : golden_.cases)
      out.push_back(golden_.cross_encoder ? c.passage : c.text);
    return out;
  }
  Reranker load(int threads) const {
    LoadOptions options;
    options.threads = threads;
    return Reranker::load(golden_.directory, options);
  }
};

/// Logits by index of the passage.
std::vector<float> logits(const std::vector<RerankResult>& results) {
  std::vector<float> out(results.size());
  for (const RerankResult& r : results) out[r.index] = r.logit;
  return out;
}

constexpr std::string_view kQuery = "what is panda?";

TEST_P(Invariants, AloneEqualsInABatchOfAnySize) {
  const Reranker reranker = load(2);
  const auto texts = passages();
  const auto together = logits(reranker.rerank(kQuery, texts));
  for (size_t batch_tokens : {1, 50, 100'000}) {
    RerankOptions options;
    options.batch_tokens = batch_tokens;
    const auto cut = logits(reranker.rerank(kQuery, texts, options));
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_NEAR(cut[i], together[i], kSame);
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto alone = reranker.rerank(kQuery, std::span(&texts[i], 1));
    EXPECT_NEAR(alone[0].logit, together[i], kSame) << texts[i];
  }
}

TEST_P(Invariants, OrderOfPassagesDoesNotMatter) {
  const Reranker reranker = load(2);
  auto texts = passages();
  const auto before = logits(reranker.rerank(kQuery, texts));
  std::vector<size_t> order(texts.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  std::vector<std::string_view> shuffled;
  for (size_t i : order) shuffled.push_back(texts[i]);
  const auto after = logits(reranker.rerank(kQuery, shuffled));
  for (size_t i = 0; i < order.size(); ++i) EXPECT_NEAR(after[i], before[order[i]], kSame);
}

TEST_P(Invariants, NumberOfThreadsDoesNotMatter) {
  const auto texts = passages();
  const auto one = logits(load(1).rerank(kQuery, texts));
  for (int threads : {2, 3, 7}) {
    const auto many = logits(load(threads).rerank(kQuery, texts));
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_NEAR(many[i], one[i], kSame) << threads;
  }
}

TEST_P(Invariants, ManyThreadsMayAskAtOnce) {
  const Reranker reranker = load(2);
  const auto texts = passages();
  const auto want = logits(reranker.rerank(kQuery, texts));
  std::vector<std::vector<float>> got(4);
  std::vector<std::thread> callers;
  for (auto& mine : got) {
    callers.emplace_back([&] {
      for (int round = 0; round < 3; ++round) mine = logits(reranker.rerank(kQuery, texts));
    });
  }
  for (auto& caller : callers) caller.join();
  for (const auto& mine : got) {
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_NEAR(mine[i], want[i], kSame);
  }
}

TEST_P(Invariants, ManyRequestsEqualOneByOne) {
  const Reranker reranker = load(2);
  const auto texts = passages();
  const std::vector<RerankRequest> requests = {
      {kQuery, texts}, {"", {texts[0]}}, {"capital of China?", {texts[1], "", texts[2]}}};
  RunStats stats;
  const auto all = reranker.rerank(requests, {}, &stats);
  ASSERT_EQ(all.size(), requests.size());
  size_t tokens = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto alone = logits(reranker.rerank(requests[i].query, requests[i].passages));
    const auto shared = logits(all[i]);
    for (size_t j = 0; j < alone.size(); ++j) EXPECT_NEAR(shared[j], alone[j], kSame);
    for (const RerankResult& r : all[i]) tokens += r.tokens;
  }
  EXPECT_GE(stats.tokens, tokens);
  EXPECT_GE(stats.sequences, texts.size() + 4);
}

TEST_P(Invariants, ResultsAreSortedAndTiesKeepTheOrderOfIndices) {
  const Reranker reranker = load(1);
  auto texts = passages();
  texts.push_back(texts[0]);
  texts.push_back(texts[0]);
  const auto results = reranker.rerank(kQuery, texts);
  ASSERT_EQ(results.size(), texts.size());
  for (size_t i = 1; i < results.size(); ++i) {
    const RerankResult &a = results[i - 1], &b = results[i];
    EXPECT_TRUE(a.logit > b.logit || (a.logit == b.logit && a.index < b.index));
  }
  RerankOptions top;
  top.top_n = 2;
  const auto best = reranker.rerank(kQuery, texts, top);
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[0].index, results[0].index);
}

TEST_P(Invariants, ProgressReachesTheEndAndNoPassagesAreRefused) {
  const Reranker reranker = load(1);
  const auto texts = passages();
  size_t last = 0, total = 0;
  RerankOptions options;
  options.batch_tokens = 64;
  options.progress = [&](size_t done, size_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
  };
  reranker.rerank(kQuery, texts, options);
  EXPECT_EQ(last, total);
  EXPECT_GE(total, texts.size());
  EXPECT_THROW(reranker.rerank(kQuery, {}), Error);
}

INSTANTIATE_TEST_SUITE_P(Models, Invariants,
                         testing::Values("xlmr-ce", "bert-ce", "xlmr-bi-mean", "bert-bi-cls"),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace tamis
