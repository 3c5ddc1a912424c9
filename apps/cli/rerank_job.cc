#include "rerank_job.h"

#include <fmt/format.h>

#include <utility>

#include "display_width.h"
#include "table.h"

namespace tamis::cli {

RerankJob::RerankJob(const Reranker& reranker, const RerankOptions& options, const RerankLook& look,
                     RunMeter& meter, Progress& progress, std::function<double()> fraction)
    : reranker_(reranker),
      options_(options),
      look_(look),
      meter_(meter),
      progress_(progress),
      fraction_(std::move(fraction)) {
  options_.progress = [this](size_t done, size_t total) { progress_.update(done, total); };
}

RerankLine RerankJob::parse(std::string_view line, const std::string& where) {
  return parse_rerank_line(line, where, line_replacements_);
}

std::vector<std::vector<RerankResult>> RerankJob::run(std::span<const RerankLine> items) {
  std::vector<RerankRequest> requests;
  size_t pairs = 0;
  for (const RerankLine& item : items) {
    requests.push_back({item.query, {item.passages.begin(), item.passages.end()}});
    pairs += item.passages.size();
  }
  progress_.begin_window(fraction_());
  auto results =
      meter_.measure([&](RunStats* stats) { return reranker_.rerank(requests, options_, stats); });
  progress_.end_window(pairs);
  return results;
}

void RerankJob::write(std::string& out, const RerankLine& item,
                      const std::vector<RerankResult>& results, JsonLayout layout) {
  if (look_.format != Format::kTable) return write_results(out, results, layout);
  if (look_.show_query) {
    out += fmt::format(
        "query: {}\n",
        fit_to_columns(item.query, look_.columns > 16 ? look_.columns - 7 : look_.columns));
  }
  write_table(out, {results, item.passages, reranker_.info().labels, look_.sigmoid, look_.columns,
                    look_.bold});
  if (look_.show_query) out += '\n';
}

size_t RerankJob::utf8_replacements() const {
  return line_replacements_ + meter_.stats().utf8_replacements;
}

}  // namespace tamis::cli
