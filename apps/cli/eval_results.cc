#include "eval_results.h"

#include <fmt/format.h>

#include "io/json_writer.h"

namespace tamis::cli {
namespace {

bool are_named(const std::vector<DataSetResult>& sets) { return !sets.front().name.empty(); }

void write_run(const RunResult& r, const std::string& dataset, io::JsonWriter& json) {
  const Evaluation& e = r.evaluation;
  json.begin_object();
  if (!dataset.empty()) json.key("dataset").string(dataset);
  json.key("run").string(r.run);
  json.key("queries").unsigned_integer(e.queries.size());
  json.key("not_judged").unsigned_integer(e.not_judged);
  json.key("not_in_run").unsigned_integer(e.not_in_run);
  json.key("metrics").begin_object();
  for (const MetricValues& m : e.metrics) {
    json.key(to_string(m.metric)).begin_object().key("mean").number(m.mean);
    json.key("low").number(m.low).key("high").number(m.high).end_object();
  }
  json.end_object().end_object();
}

void write_comparison(const MetricComparison& c, const std::string& dataset, io::JsonWriter& json) {
  json.begin_object();
  if (!dataset.empty()) json.key("dataset").string(dataset);
  json.key("metric").string(to_string(c.metric));
  json.key("first").number(c.first).key("second").number(c.second);
  json.key("p_value").number(c.p_value).key("queries").unsigned_integer(c.queries);
  json.key("better").unsigned_integer(c.better);
  json.key("worse").unsigned_integer(c.worse).end_object();
}

void write_averages(const std::vector<DataSetResult>& sets, io::JsonWriter& json) {
  const std::vector<AverageResult> averages = averages_of(sets);
  if (averages.empty()) return;
  const auto& metrics = sets.front().runs.front().evaluation.metrics;
  json.key("average").begin_array();
  for (const AverageResult& average : averages) {
    json.begin_object().key("run").string(average.run).key("metrics").begin_object();
    for (size_t i = 0; i < metrics.size(); ++i) {
      json.key(to_string(metrics[i].metric)).number(average.means[i]);
    }
    json.end_object().end_object();
  }
  json.end_array();
}

}  // namespace

std::vector<AverageResult> averages_of(const std::vector<DataSetResult>& sets) {
  std::vector<AverageResult> out;
  if (sets.size() < 2) return out;
  for (size_t run = 0; run < sets.front().runs.size(); ++run) {
    AverageResult average{sets.front().runs[run].run, {}};
    average.means.resize(sets.front().runs[run].evaluation.metrics.size());
    for (const DataSetResult& set : sets) {
      const auto& metrics = set.runs[run].evaluation.metrics;
      for (size_t i = 0; i < metrics.size(); ++i) {
        average.means[i] += metrics[i].mean / static_cast<double>(sets.size());
      }
    }
    out.push_back(std::move(average));
  }
  return out;
}

void write_json(std::string& out, const std::vector<DataSetResult>& sets) {
  io::JsonWriter json(out, 1);
  json.begin_object().key("runs").begin_array();
  for (const DataSetResult& set : sets) {
    for (const RunResult& run : set.runs) write_run(run, set.name, json);
  }
  json.end_array().key("comparison").begin_array();
  for (const DataSetResult& set : sets) {
    for (const MetricComparison& c : set.compared) write_comparison(c, set.name, json);
  }
  json.end_array();
  write_averages(sets, json);
  json.end_object();
  out += '\n';
}

void write_markdown(std::string& out, const std::vector<DataSetResult>& sets) {
  const bool named = are_named(sets);
  const auto cell_of = [&](const std::string& name) {
    return named ? fmt::format("| {} ", name) : std::string();
  };
  const auto& metrics = sets.front().runs.front().evaluation.metrics;
  out += cell_of("data set") + "| run | queries |";
  for (const MetricValues& m : metrics) out += fmt::format(" {} |", to_string(m.metric));
  out += named ? "\n|---|---|---|" : "\n|---|---|";
  for (size_t i = 0; i < metrics.size(); ++i) out += "---|";
  out += '\n';
  for (const DataSetResult& set : sets) {
    for (const RunResult& run : set.runs) {
      out += cell_of(set.name) + fmt::format("| {} | {} |", run.run, run.evaluation.queries.size());
      for (const MetricValues& m : run.evaluation.metrics) {
        out += fmt::format(" {:.4f} ± {:.4f} |", m.mean, (m.high - m.low) / 2);
      }
      out += '\n';
    }
  }
  for (const AverageResult& average : averages_of(sets)) {
    out += cell_of("average") + fmt::format("| {} | |", average.run);
    for (double mean : average.means) out += fmt::format(" {:.4f} |", mean);
    out += '\n';
  }
  if (sets.front().compared.empty()) return;
  const auto& runs = sets.front().runs;
  out += '\n' + cell_of("data set") +
         fmt::format(
             "| metric | {} | {} | difference | better | worse | p |\n{}"
             "|---|---|---|---|---|---|---|\n",
             runs[0].run, runs[1].run, named ? "|---" : "");
  for (const DataSetResult& set : sets) {
    for (const MetricComparison& c : set.compared) {
      out +=
          cell_of(set.name) + fmt::format("| {} | {:.4f} | {:.4f} | {:+.4f} | {} | {} | {:.4f} |\n",
                                          to_string(c.metric), c.first, c.second,
                                          c.second - c.first, c.better, c.worse, c.p_value);
    }
  }
}

}  // namespace tamis::cli
