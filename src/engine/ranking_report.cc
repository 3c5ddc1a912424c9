#include "engine/ranking_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/fail.h"

namespace tamis {
namespace {

/// Indices, best first, ties by index: the order in which results are shown.
std::vector<size_t> order_of(std::span<const float> scores) {
  std::vector<size_t> out(scores.size());
  std::iota(out.begin(), out.end(), size_t{0});
  std::stable_sort(out.begin(), out.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return out;
}

/// Ranks from 1, the mean of the places that equal scores share.
std::vector<double> average_ranks(std::span<const float> scores) {
  const std::vector<size_t> order = order_of(scores);
  std::vector<double> out(scores.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i + 1;
    while (end < order.size() && scores[order[end]] == scores[order[i]]) ++end;
    for (size_t j = i; j < end; ++j) out[order[j]] = static_cast<double>(i + 1 + end) / 2;
    i = end;
  }
  return out;
}

/// Pearson's correlation; 1 if one side has a single value.
double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const double n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return aa == 0 || bb == 0 ? 1.0 : ab / std::sqrt(aa * bb);
}

/// Pairs i < j with values[i] > values[j]; sorts the values [merge sort].
double count_inversions(std::span<float> values) {
  if (values.size() < 2) return 0;
  const size_t half = values.size() / 2;
  double out = count_inversions(values.first(half)) + count_inversions(values.subspan(half));
  const auto middle = values.begin() + static_cast<ptrdiff_t>(half);
  for (auto left = values.begin(), right = middle; right != values.end(); ++right) {
    left = std::upper_bound(left, middle, *right);
    out += static_cast<double>(middle - left);
  }
  std::inplace_merge(values.begin(), middle, values.end());
  return out;
}

double pairs_of(double n) { return n * (n - 1) / 2; }

/// Pairs of equal neighbours in a sorted sequence, as `equal` has it.
template <class Equal>
double tied_pairs(size_t n, const Equal& equal) {
  double out = 0;
  for (size_t i = 0; i < n;) {
    size_t end = i + 1;
    while (end < n && equal(i, end)) ++end;
    out += pairs_of(static_cast<double>(end - i));
    i = end;
  }
  return out;
}

/// tau-b in n log n [Knight, 1966].
double kendall(std::span<const float> a, std::span<const float> b) {
  const size_t n = a.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t i, size_t j) { return a[i] != a[j] ? a[i] < a[j] : b[i] < b[j]; });
  const double all = pairs_of(static_cast<double>(n));
  const double ties_a =
      tied_pairs(n, [&](size_t i, size_t j) { return a[order[i]] == a[order[j]]; });
  const double ties_both = tied_pairs(n, [&](size_t i, size_t j) {
    return a[order[i]] == a[order[j]] && b[order[i]] == b[order[j]];
  });
  std::vector<float> sorted(n);
  for (size_t i = 0; i < n; ++i) sorted[i] = b[order[i]];
  const double discordant = count_inversions(sorted);
  const double ties_b = tied_pairs(n, [&](size_t i, size_t j) { return sorted[i] == sorted[j]; });
  if (ties_a == all || ties_b == all) return 1.0;
  const double concordant = all - ties_a - ties_b + ties_both - discordant;
  return (concordant - discordant) / std::sqrt((all - ties_a) * (all - ties_b));
}

void check(const ScoredRequest& request, size_t index) {
  const size_t n = request.reference.size();
  if (request.other.size() != n || (!request.relevance.empty() && request.relevance.size() != n)) {
    fail(ErrorCode::kInvalidArgument,
         "request {}: expected as many scores of each side and judgements, got {}, {} and {}",
         index, n, request.other.size(), request.relevance.size());
  }
  for (const auto* side : {&request.reference, &request.other}) {
    if (std::none_of(side->begin(), side->end(), [](float x) { return std::isnan(x); })) continue;
    fail(ErrorCode::kInvalidArgument, "request {}: a score is NaN", index);
  }
}

double top10_overlap(const std::vector<size_t>& a, const std::vector<size_t>& b) {
  const size_t n = std::min<size_t>(10, a.size());
  size_t common = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto end = b.begin() + static_cast<ptrdiff_t>(n);
    common += std::find(b.begin(), end, a[i]) != end;
  }
  return static_cast<double>(common) / static_cast<double>(n);
}

}  // namespace

double ndcg10(std::span<const float> scores, std::span<const double> relevance) {
  const auto gain = [](const auto& relevance_at) {
    double sum = 0;
    for (size_t i = 0; i < 10; ++i) sum += relevance_at(i) / std::log2(static_cast<double>(i + 2));
    return sum;
  };
  const std::vector<size_t> order = order_of(scores);
  std::vector<double> ideal(relevance.begin(), relevance.end());
  std::sort(ideal.begin(), ideal.end(), std::greater<>());
  const double best = gain([&](size_t i) { return i < ideal.size() ? ideal[i] : 0.0; });
  if (best <= 0) return 0.0;
  return gain([&](size_t i) { return i < order.size() ? relevance[order[i]] : 0.0; }) / best;
}

RankingReport compare_rankings(std::span<const ScoredRequest> requests) {
  RankingReport out;
  size_t ranked = 0;
  double tau = 0, rho = 0, top1 = 0, top10 = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const ScoredRequest& r = requests[i];
    check(r, i);
    ++out.requests;
    for (size_t j = 0; j < r.other.size(); ++j) {
      const double delta = std::abs(double{r.other[j]} - double{r.reference[j]});
      out.max_delta = std::max(out.max_delta, delta);
      out.mean_delta += delta;
      ++out.pairs;
    }
    if (std::any_of(r.relevance.begin(), r.relevance.end(), [](double x) { return x > 0; })) {
      ++out.judged;
      out.ndcg10_reference += ndcg10(r.reference, r.relevance);
      out.ndcg10_other += ndcg10(r.other, r.relevance);
    }
    if (r.reference.size() < 2) continue;
    ++ranked;
    const auto a = order_of(r.reference), b = order_of(r.other);
    tau += kendall(r.reference, r.other);
    rho += correlation(average_ranks(r.reference), average_ranks(r.other));
    top1 += a[0] == b[0] ? 1.0 : 0.0;
    top10 += top10_overlap(a, b);
  }
  const auto n = static_cast<double>(ranked);
  if (ranked > 0) {
    out.kendall = tau / n;
    out.spearman = rho / n;
    out.top1 = top1 / n;
    out.top10 = top10 / n;
  }
  if (out.pairs > 0) out.mean_delta /= static_cast<double>(out.pairs);
  if (out.judged > 0) {
    out.ndcg10_reference /= static_cast<double>(out.judged);
    out.ndcg10_other /= static_cast<double>(out.judged);
  }
  return out;
}

}  // namespace tamis
