#include "tamis/evaluate.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/fail.h"
#include "numeric/philox.h"

namespace tamis {
namespace {

constexpr size_t kBootstrapSamples = 2000, kRandomisations = 10000;
constexpr uint64_t kSeed = 20261130;

struct KindName {
  Metric::Kind kind;
  std::string_view name;
};
constexpr std::array<KindName, 6> kKinds = {{{Metric::Kind::kNdcg, "ndcg"},
                                             {Metric::Kind::kMap, "map"},
                                             {Metric::Kind::kRecall, "recall"},
                                             {Metric::Kind::kPrecision, "p"},
                                             {Metric::Kind::kMrr, "mrr"},
                                             {Metric::Kind::kRecallCap, "recall_cap"}}};

/// Grades of the hits in order, and of all that is judged.
struct Graded {
  std::vector<int64_t> hits;
  std::vector<int64_t> ideal;  ///< relevant ones, the best first
};

Graded grade(const std::map<std::string, int64_t>& judged, std::vector<RunHit> hits) {
  std::sort(hits.begin(), hits.end(), [](const RunHit& a, const RunHit& b) {
    // trec_eval holds scores as floats: two that differ by less are equal.
    const auto x = static_cast<float>(a.score), y = static_cast<float>(b.score);
    return x != y ? x > y : a.document > b.document;
  });
  Graded out;
  for (const RunHit& hit : hits) {
    const auto found = judged.find(hit.document);
    out.hits.push_back(found == judged.end() ? 0 : found->second);
  }
  for (const auto& [document, relevance] : judged) {
    if (relevance > 0) out.ideal.push_back(relevance);
  }
  std::sort(out.ideal.rbegin(), out.ideal.rend());
  return out;
}

double dcg(const std::vector<int64_t>& grades, size_t depth) {
  double sum = 0;
  for (size_t i = 0; i < std::min(depth, grades.size()); ++i) {
    if (grades[i] > 0)
      sum += static_cast<double>(grades[i]) / std::log2(static_cast<double>(i) + 2);
  }
  return sum;
}

double value_of(const Metric& metric, const Graded& g) {
  const auto relevant = static_cast<double>(g.ideal.size());
  double found = 0, precisions = 0, first = 0;
  for (size_t i = 0; i < std::min(metric.depth, g.hits.size()); ++i) {
    if (g.hits[i] <= 0) continue;
    if (found == 0) first = 1 / static_cast<double>(i + 1);
    ++found;
    precisions += found / static_cast<double>(i + 1);
  }
  const auto ratio = [](double a, double b) { return b > 0 ? a / b : 0; };
  switch (metric.kind) {
    case Metric::Kind::kNdcg:
      return ratio(dcg(g.hits, metric.depth), dcg(g.ideal, metric.depth));
    case Metric::Kind::kMap:
      return ratio(precisions, relevant);
    case Metric::Kind::kRecall:
      return ratio(found, relevant);
    case Metric::Kind::kPrecision:
      return found / static_cast<double>(metric.depth);
    case Metric::Kind::kMrr:
      return first;
    case Metric::Kind::kRecallCap:
      return ratio(found, std::min(relevant, static_cast<double>(metric.depth)));
  }
  return 0;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

/// The middle 95 % of the means of samples with replacement.
void add_interval(MetricValues& m) {
  const auto n = static_cast<uint32_t>(m.values.size());
  PhiloxStream random(kSeed);
  std::vector<double> means;
  for (size_t s = 0; s < kBootstrapSamples; ++s) {
    double sum = 0;
    for (uint32_t i = 0; i < n; ++i) sum += m.values[random.below(n)];
    means.push_back(sum / n);
  }
  std::sort(means.begin(), means.end());
  m.low = means[kBootstrapSamples * 25 / 1000];
  m.high = means[kBootstrapSamples * 975 / 1000 - 1];
}

double randomisation_test(const std::vector<double>& differences) {
  const double seen = std::abs(mean_of(differences));
  PhiloxStream random(kSeed);
  size_t as_large = 0;
  for (size_t draw = 0; draw < kRandomisations; ++draw) {
    double sum = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < differences.size(); ++i, bits >>= 1) {
      if (i % 32 == 0) bits = random.next();
      sum += bits & 1 ? differences[i] : -differences[i];
    }
    // Sums of the same numbers in another order may differ in their last bits.
    as_large += std::abs(sum / static_cast<double>(differences.size())) >= seen - 1e-12;
  }
  return static_cast<double>(as_large + 1) / static_cast<double>(kRandomisations + 1);
}

}  // namespace

Metric parse_metric(std::string_view text) {
  size_t at = text.find('@'), skip = 1;
  if (at == std::string_view::npos) at = text.find("_at_"), skip = 4;
  if (at != std::string_view::npos) {
    const std::string_view name = text.substr(0, at), depth = text.substr(at + skip);
    Metric out;
    const auto [end, error] = std::from_chars(depth.data(), depth.data() + depth.size(), out.depth);
    const bool number = error == std::errc() && end == depth.data() + depth.size() && out.depth > 0;
    for (const KindName& kind : kKinds) {
      if (!number || (name != kind.name && !(name == "precision" && kind.name == "p"))) continue;
      out.kind = kind.kind;
      return out;
    }
  }
  fail(
      ErrorCode::kInvalidArgument,
      "metric \"{}\": expected ndcg, map, recall, p, mrr or recall_cap with a depth, as in ndcg@10",
      text);
}

std::string to_string(const Metric& metric) {
  return fmt::format("{}@{}", kKinds[static_cast<size_t>(metric.kind)].name, metric.depth);
}

Evaluation evaluate(const Judgements& judgements, const SearchRun& run,
                    const std::vector<Metric>& metrics) {
  Evaluation out;
  for (const Metric& metric : metrics) out.metrics.push_back({metric, {}, 0, 0, 0});
  for (const auto& [query, hits] : run) {
    const auto judged = judgements.find(query);
    if (judged == judgements.end()) {
      ++out.not_judged;
      continue;
    }
    out.queries.push_back(query);
    const Graded graded = grade(judged->second, hits);
    for (MetricValues& m : out.metrics) m.values.push_back(value_of(m.metric, graded));
  }
  out.not_in_run = judgements.size() - out.queries.size();
  if (out.queries.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "the run and the judgements have no query in common: {} queries in the run, {} judged",
         run.size(), judgements.size());
  }
  for (MetricValues& m : out.metrics) {
    m.mean = mean_of(m.values);
    add_interval(m);
  }
  return out;
}

std::vector<MetricComparison> compare(const Evaluation& first, const Evaluation& second) {
  std::vector<std::pair<size_t, size_t>> common;  // places of the same query
  for (size_t i = 0; i < first.queries.size(); ++i) {
    const auto found =
        std::lower_bound(second.queries.begin(), second.queries.end(), first.queries[i]);
    if (found != second.queries.end() && *found == first.queries[i]) {
      common.emplace_back(i, static_cast<size_t>(found - second.queries.begin()));
    }
  }
  std::vector<MetricComparison> out;
  for (const MetricValues& a : first.metrics) {
    for (const MetricValues& b : second.metrics) {
      if (a.metric != b.metric || common.empty()) continue;
      MetricComparison c{a.metric, common.size(), 0, 0, 1, 0, 0};
      std::vector<double> differences;
      for (const auto& [i, j] : common) {
        differences.push_back(b.values[j] - a.values[i]);
        c.first += a.values[i] / static_cast<double>(common.size());
        c.second += b.values[j] / static_cast<double>(common.size());
        c.better += b.values[j] > a.values[i];
        c.worse += b.values[j] < a.values[i];
      }
      c.p_value = randomisation_test(differences);
      out.push_back(c);
    }
  }
  if (out.empty()) {
    fail(ErrorCode::kInvalidArgument, "the two runs have no query, or no metric, in common");
  }
  return out;
}

}  // namespace tamis
