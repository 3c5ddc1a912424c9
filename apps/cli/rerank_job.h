#pragma once

// Scores requests and writes the results; the same for one request and for a stream of them.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "jsonl.h"
#include "progress.h"
#include "run_meter.h"
#include "tamis/reranker.h"

namespace tamis::cli {

struct RerankLook {
  Format format = Format::kTable;
  bool sigmoid = false;
  bool show_query = false;  ///< above each table
  size_t columns = 0;       ///< see RerankTable
  bool bold = false;
};

class RerankJob : public LineJob<RerankLine, std::vector<RerankResult>> {
 public:
  /// fraction: how much of all the input has been read by now, see Progress::begin_window.
  RerankJob(const Reranker& reranker, const RerankOptions& options, const RerankLook& look,
            RunMeter& meter, Progress& progress, std::function<double()> fraction);

  RerankLine parse(std::string_view line, const std::string& where) override;
  std::vector<std::vector<RerankResult>> run(std::span<const RerankLine> items) override;
  void write(std::string& out, const RerankLine& item, const std::vector<RerankResult>& results,
             JsonLayout layout) override;
  void before_output() override { progress_.clear(); }
  void after_output() override { meter_.result_written(); }

  /// In lines of JSON and in texts.
  size_t utf8_replacements() const;

 private:
  const Reranker& reranker_;
  RerankOptions options_;
  const RerankLook look_;
  RunMeter& meter_;
  Progress& progress_;
  std::function<double()> fraction_;
  size_t line_replacements_ = 0;
};

}  // namespace tamis::cli
