// Metrics against pytrec_eval (tools/golden/make_evaluate_goldens.py), and what it does not have.

#include "tamis/evaluate.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "io/json.h"
#include "tamis/error.h"

namespace tamis {
namespace {

struct Golden {
  Golden()
      : document([] {
          std::stringstream text;
          text << std::ifstream(TAMIS_SOURCE_DIR "/tests/golden/evaluate.json").rdbuf();
          return io::JsonDocument::parse(text.str(), "evaluate.json");
        }()) {
    for (const auto& [query, documents] : document.root().at("judgements").members("j")) {
      for (const auto& [name, grade] : documents.members("d")) {
        judgements[std::string(query)][std::string(name)] = grade.integer("grade");
      }
    }
    for (const auto& [query, documents] : document.root().at("run").members("r")) {
      for (const auto& [name, score] : documents.members("d")) {
        run[std::string(query)].push_back({std::string(name), score.number("score")});
      }
    }
  }
  io::JsonDocument document;
  Judgements judgements;
  SearchRun run;
};

TEST(Evaluate, EqualsPytrecEval) {
  const Golden golden;
  for (const auto& [name, want] : golden.document.root().at("values").members("values")) {
    const Evaluation e = evaluate(golden.judgements, golden.run, {parse_metric(name)});
    ASSERT_EQ(e.queries.size(), want.members("queries").size());
    double sum = 0;
    for (size_t i = 0; i < e.queries.size(); ++i) {
      const double value = want.at(e.queries[i]).number("value");
      EXPECT_NEAR(e.metrics[0].values[i], value, 1e-12) << name << " of " << e.queries[i];
      sum += value;
    }
    EXPECT_NEAR(e.metrics[0].mean, sum / static_cast<double>(e.queries.size()), 1e-12);
    EXPECT_EQ(e.not_judged, 3u);
    EXPECT_EQ(e.not_in_run, 2u);
  }
}

TEST(Evaluate, ReciprocalRankAndCappedRecall) {
  const Judgements judged = {{"q", {{"a", 1}, {"b", 2}, {"c", 0}}}};
  const SearchRun run = {{"q", {{"c", 9}, {"x", 8}, {"b", 7}, {"a", 1}}}};
  const Evaluation e =
      evaluate(judged, run,
               {parse_metric("mrr@10"), parse_metric("mrr@2"), parse_metric("recall_cap@3"),
                parse_metric("recall_cap@1"), parse_metric("precision_at_4")});
  const std::vector<double> want = {1.0 / 3, 0, 0.5, 0, 0.5};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_DOUBLE_EQ(e.metrics[i].mean, want[i]) << i;
}

TEST(Evaluate, TheIntervalHoldsTheMean) {
  const Golden golden;
  const Evaluation e = evaluate(golden.judgements, golden.run, {parse_metric("ndcg@10")});
  EXPECT_LT(e.metrics[0].low, e.metrics[0].mean);
  EXPECT_GT(e.metrics[0].high, e.metrics[0].mean);
}

TEST(Compare, ARunIsNoDifferentFromItself) {
  const Golden golden;
  const Evaluation e = evaluate(golden.judgements, golden.run, {parse_metric("ndcg@10")});
  const auto same = compare(e, e);
  ASSERT_EQ(same.size(), 1u);
  EXPECT_EQ(same[0].better + same[0].worse, 0u);
  EXPECT_EQ(same[0].p_value, 1);
}

TEST(Compare, ARunThatIsBetterEverywhereIsSignificant) {
  Judgements judged;
  SearchRun worse, better;
  for (int q = 0; q < 12; ++q) {
    const std::string name = "q" + std::to_string(q);
    judged[name] = {{"a", 1}};
    worse[name] = {{"x", 2}, {"a", 1}};
    better[name] = {{"a", 2}, {"x", 1}};
  }
  const std::vector<Metric> metrics = {parse_metric("ndcg@10"), parse_metric("mrr@10")};
  const auto result = compare(evaluate(judged, worse, metrics), evaluate(judged, better, metrics));
  ASSERT_EQ(result.size(), 2u);
  EXPECT_EQ(result[1].better, 12u);
  EXPECT_DOUBLE_EQ(result[1].first, 0.5);
  // Two of 4,096 signs give as much: about 0.0005, as 10,000 draws see it.
  EXPECT_LT(result[1].p_value, 0.002);
}

TEST(Evaluate, WhatCannotBeIsRefused) {
  const Judgements judged = {{"q", {{"a", 1}}}};
  const SearchRun run = {{"p", {{"a", 1}}}};
  EXPECT_THROW(evaluate(judged, run, {parse_metric("ndcg@10")}), Error);
  for (const char* name : {"ndcg", "ndcg@0", "ndcg@x", "f1@10", "@10", "ndcg@10 "}) {
    EXPECT_THROW(parse_metric(name), Error) << name;
  }
  EXPECT_EQ(to_string(parse_metric("ndcg_at_10")), "ndcg@10");
  EXPECT_EQ(parse_metric("recall_cap_at_5"), (Metric{Metric::Kind::kRecallCap, 5}));
}

}  // namespace
}  // namespace tamis
