#pragma once

// What an evaluation found, as Markdown, JSON or a page.

#include <string>
#include <vector>

#include "tamis/evaluate.h"

namespace tamis::cli {

struct RunResult {
  std::string run;  ///< the file's name or the model's
  Evaluation evaluation;
  Evaluation curves;  ///< ndcg and recall at each depth of the page; of no queries without one
};

struct DataSetResult {
  std::string name;                        ///< empty: the only one, and the user did not name it
  std::vector<RunResult> runs;             ///< one or two
  std::vector<MetricComparison> compared;  ///< of two
};

/// Means of a run over data sets, each counting as much; not of one alone.
struct AverageResult {
  std::string run;
  std::vector<double> means;  ///< of each metric
};
std::vector<AverageResult> averages_of(const std::vector<DataSetResult>& sets);

void write_markdown(std::string& out, const std::vector<DataSetResult>& sets);
void write_json(std::string& out, const std::vector<DataSetResult>& sets);

/// HTML that needs no other file; the runs have curves, with ndcg@10 among them.
std::string eval_page(const std::string& title, const std::vector<DataSetResult>& sets);

}  // namespace tamis::cli
