#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tamis {

/// How relevant documents are: query → document → grade; 0 and less is not relevant.
using Judgements = std::map<std::string, std::map<std::string, int64_t>>;

struct RunHit {
  std::string document;
  double score = 0;
};
/// What a system found: query → hits, in any order. As trec_eval does, an evaluation sorts by score
/// and, where scores are equal, by the document's name, the last in the alphabet first.
using SearchRun = std::map<std::string, std::vector<RunHit>>;

/// One metric at a depth: "ndcg@10".
struct Metric {
  enum class Kind { kNdcg, kMap, kRecall, kPrecision, kMrr, kRecallCap };
  Kind kind = Kind::kNdcg;
  size_t depth = 10;
  bool operator==(const Metric&) const = default;
};

/// "ndcg@10", "map@100", "recall@1000", "p@5", "mrr@10", "recall_cap@100"; also as FlagEmbedding
/// writes it, "ndcg_at_10". Errors: invalid_argument (lists the forms).
Metric parse_metric(std::string_view text);
std::string to_string(const Metric& metric);  ///< "ndcg@10"

/// Values of one metric.
struct MetricValues {
  Metric metric;
  std::vector<double> values;  ///< of each query, in the order of Evaluation::queries
  double mean = 0;
  double low = 0, high = 0;  ///< of the mean: 95 %, by 2,000 bootstrap samples of the queries
};

struct Evaluation {
  /// Those that are both judged and in the run, as pytrec_eval takes them.
  std::vector<std::string> queries;
  size_t not_judged = 0;  ///< queries of the run without judgements
  size_t not_in_run = 0;  ///< judged queries that the run does not have
  std::vector<MetricValues> metrics;
};

/// ndcg, map, recall and p are those of trec_eval (ndcg_cut, map_cut, recall, P); mrr is 1 / (rank
/// of the first relevant document), recall_cap hits / min(relevant ones, depth)
/// [FlagEmbedding/abc/evaluation/utils.py]. Errors: invalid_argument (no query in common).
Evaluation evaluate(const Judgements& judgements, const SearchRun& run,
                    const std::vector<Metric>& metrics);

/// Two runs over the queries that both evaluations have.
struct MetricComparison {
  Metric metric;
  size_t queries = 0;
  double first = 0, second = 0;  ///< means
  /// How often random signs of the differences give as large a mean difference: two-sided
  /// randomisation test, 10,000 draws of a fixed seed.
  double p_value = 1;
  size_t better = 0, worse = 0;  ///< queries where the second is above, below the first
};

/// Errors: invalid_argument (no metric or no query in common).
std::vector<MetricComparison> compare(const Evaluation& first, const Evaluation& second);

}  // namespace tamis
