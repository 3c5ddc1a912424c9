// The page of an evaluation: tables and pictures in one file.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval_results.h"
#include "io/html_page.h"
#include "io/svg_plot.h"

namespace tamis::cli {
namespace {

constexpr Metric kMain{Metric::Kind::kNdcg, 10};
constexpr size_t kNamedQueries = 10;  // on each side

const MetricValues& main_of(const Evaluation& evaluation) {
  return *std::find_if(evaluation.metrics.begin(), evaluation.metrics.end(),
                       [](const MetricValues& m) { return m.metric == kMain; });
}

std::string metrics_table(const DataSetResult& set) {
  io::HtmlTable table{{"run", "metric", "queries", "mean", "95 % from", "to"}, {}, 2};
  for (const RunResult& run : set.runs) {
    for (const MetricValues& m : run.evaluation.metrics) {
      table.rows.push_back({run.run, to_string(m.metric), std::to_string(m.values.size()),
                            fmt::format("{:.4f}", m.mean), fmt::format("{:.4f}", m.low),
                            fmt::format("{:.4f}", m.high)});
    }
  }
  return io::html_table(table);
}

std::string averages_table(const std::vector<DataSetResult>& sets) {
  io::HtmlTable table{{"run", "data sets"}, {}};
  for (const MetricValues& m : sets.front().runs.front().evaluation.metrics) {
    table.head.push_back(to_string(m.metric));
  }
  for (const AverageResult& average : averages_of(sets)) {
    std::vector<std::string> row = {average.run, std::to_string(sets.size())};
    for (double mean : average.means) row.push_back(fmt::format("{:.4f}", mean));
    table.rows.push_back(std::move(row));
  }
  return io::html_table(table);
}

std::string bars(const DataSetResult& set) {
  std::vector<io::Bar> all;
  for (const RunResult& run : set.runs) {
    const MetricValues& m = main_of(run.curves);
    all.push_back({run.run, m.mean, m.low, m.high});
  }
  const std::string caption = to_string(kMain) + ", with the 95 % interval of its mean";
  return io::html_figure(caption, io::bar_plot(caption, all));
}

std::string curve(const DataSetResult& set, Metric::Kind kind, const std::string& name) {
  io::LinePlot plot;
  plot.title = name + " by depth";
  plot.x_label = "k";
  plot.y_label = name;
  plot.logarithmic_x = true;
  plot.dots = true;
  for (const RunResult& run : set.runs) {
    io::PlotSeries series{run.run, {}};
    for (const MetricValues& m : run.curves.metrics) {
      if (m.metric.kind == kind) {
        series.points.emplace_back(static_cast<double>(m.metric.depth), m.mean);
      }
    }
    plot.series.push_back(std::move(series));
  }
  for (const auto& [depth, value] : plot.series.front().points) plot.x_ticks.push_back(depth);
  return io::html_figure(name, io::line_plot(plot));
}

struct Difference {
  std::string query;
  double first = 0, second = 0;
  double value() const { return second - first; }
};

/// Of the queries that both runs have, the largest first.
std::vector<Difference> differences_of(const RunResult& first, const RunResult& second) {
  const Evaluation &a = first.curves, &b = second.curves;
  const MetricValues &x = main_of(a), &y = main_of(b);
  std::vector<Difference> out;
  for (size_t i = 0; i < a.queries.size(); ++i) {
    const auto found = std::lower_bound(b.queries.begin(), b.queries.end(), a.queries[i]);
    if (found == b.queries.end() || *found != a.queries[i]) continue;
    const auto j = static_cast<size_t>(found - b.queries.begin());
    out.push_back({a.queries[i], x.values[i], y.values[j]});
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Difference& p, const Difference& q) { return p.value() > q.value(); });
  return out;
}

/// Where the two differ most, both ways: what one wants to look at.
std::string queries_table(const std::vector<Difference>& all) {
  io::HtmlTable table{{"query", "first", "second", "difference"}, {}};
  const auto add = [&](const Difference& d) {
    table.rows.push_back({d.query, fmt::format("{:.4f}", d.first), fmt::format("{:.4f}", d.second),
                          fmt::format("{:+.4f}", d.value())});
  };
  size_t above = 0, below = 0;
  while (above < std::min(kNamedQueries, all.size()) && all[above].value() > 0) ++above;
  while (below < std::min(kNamedQueries, all.size()) && all[all.size() - 1 - below].value() < 0) {
    ++below;
  }
  for (size_t i = 0; i < above; ++i) add(all[i]);
  for (size_t i = all.size() - below; i < all.size(); ++i) add(all[i]);
  return table.rows.empty() ? "" : "<h3>Queries that differ most</h3>\n" + io::html_table(table);
}

std::string comparison(const DataSetResult& set) {
  io::HtmlTable table{{"metric", "first", "second", "difference", "better", "worse", "p"}, {}};
  for (const MetricComparison& c : set.compared) {
    table.rows.push_back({to_string(c.metric), fmt::format("{:.4f}", c.first),
                          fmt::format("{:.4f}", c.second),
                          fmt::format("{:+.4f}", c.second - c.first), std::to_string(c.better),
                          std::to_string(c.worse), fmt::format("{:.4f}", c.p_value)});
  }
  std::string out =
      fmt::format("<h3>The two runs</h3>\n<p>First: {}. Second: {}.</p>\n",
                  io::escaped_markup(set.runs[0].run), io::escaped_markup(set.runs[1].run));
  out += io::html_table(table);
  const auto compared = compare(set.runs[0].curves, set.runs[1].curves);
  const auto main = std::find_if(compared.begin(), compared.end(),
                                 [](const MetricComparison& c) { return c.metric == kMain; });
  const std::vector<Difference> all = differences_of(set.runs[0], set.runs[1]);
  io::DifferencePlot plot;
  plot.title = to_string(kMain) + " of each query, second run less first";
  plot.x_label = "queries, sorted";
  plot.y_label = "difference of " + to_string(kMain);
  for (const Difference& d : all) plot.differences.push_back(d.value());
  const std::string caption = fmt::format(
      "{} of each query: the second run is better for {}, worse for {} of {}; the mean "
      "differs by {:+.4f}, p = {:.4f}",
      to_string(kMain), main->better, main->worse, main->queries, main->second - main->first,
      main->p_value);
  return out + io::html_figure(caption, io::difference_plot(plot)) + queries_table(all);
}

std::string data_set(const DataSetResult& set) {
  std::string out;
  if (!set.name.empty()) out += fmt::format("<h2>{}</h2>\n", io::escaped_markup(set.name));
  out += metrics_table(set) + bars(set);
  out += curve(set, Metric::Kind::kNdcg, "nDCG@k") + curve(set, Metric::Kind::kRecall, "Recall@k");
  return set.runs.size() == 2 ? out + comparison(set) : out;
}

}  // namespace

std::string eval_page(const std::string& title, const std::vector<DataSetResult>& sets) {
  std::string body = fmt::format("<h1>{}</h1>\n", io::escaped_markup(title));
  if (sets.size() > 1) body += "<h2>Mean over the data sets</h2>\n" + averages_table(sets);
  for (const DataSetResult& set : sets) body += data_set(set);
  body +=
      "<footer>ndcg, map, recall and p are those of trec_eval; mrr and recall_cap are "
      "FlagEmbedding's. The intervals hold 95 % of the means of 2,000 samples of the queries; p is "
      "how often random signs of the differences give as large a mean, in 10,000 draws.</footer>\n";
  return io::html_page(title, body);
}

}  // namespace tamis::cli
