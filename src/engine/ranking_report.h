#pragma once

// How two scorers rank the same passages: what `tamis quantize` prints of int8 beside f32.

#include <cstddef>
#include <span>
#include <vector>

namespace tamis {

/// The scores of one request, in the order of its passages.
struct ScoredRequest {
  std::vector<float> reference;
  std::vector<float> other;
  std::vector<double> relevance;  ///< of each passage, 0 = not relevant; empty = unknown
};

/// Means over the requests that a measure applies to; 1 where there is none.
struct RankingReport {
  size_t requests = 0;
  size_t pairs = 0;
  double kendall = 1;    ///< tau-b [Kendall, 1945]; requests of two passages and more
  double spearman = 1;   ///< of average ranks
  double top1 = 1;       ///< share of requests with the same best passage
  double top10 = 1;      ///< |best 10 of both| / min(10, passages)
  double max_delta = 0;  ///< of a logit, over all pairs
  double mean_delta = 0;
  size_t judged = 0;            ///< requests with a relevant passage
  double ndcg10_reference = 0;  ///< sum rel / log2(rank + 1), over the ideal [pytrec_eval ndcg_cut]
  double ndcg10_other = 0;
};

/// Errors: invalid_argument (numbers of scores that differ, or a score that is NaN).
RankingReport compare_rankings(std::span<const ScoredRequest> requests);

/// nDCG@10 of scores, ties by index.
double ndcg10(std::span<const float> scores, std::span<const double> relevance);

}  // namespace tamis
