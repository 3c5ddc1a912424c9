#include "train/run_files.h"

#include <array>
#include <cmath>

#include "base/fail.h"
#include "io/crc32.h"
#include "io/file_writer.h"
#include "io/svg_plot.h"
#include "train/run_page.h"

namespace tamis::training {
namespace {

namespace fs = std::filesystem;

struct EventPlace {
  fs::path directory;
  std::string suffix;  ///< of this run's files, and of no other's
};

EventPlace event_place(const TrainOptions& options) {
  if (options.logging_dir.empty()) return {options.output_dir / "runs", ".tamis"};
  // Several runs may share a directory of the user's, and a resume may cut its own files alone.
  std::error_code ignored;
  const fs::path output = fs::weakly_canonical(options.output_dir, ignored);
  return {options.logging_dir, fmt::format(".tamis-{:08x}", io::crc32c(output.string()))};
}

void write_whole(const fs::path& path, std::string_view text) {
  io::FileWriter writer(path);
  writer.append(text);
  writer.finish();
}

}  // namespace

RunFiles::RunFiles(const TrainOptions& options, int64_t first_step)
    : options_(options),
      metrics_(options.output_dir / "metrics.jsonl", first_step, options.logging_steps) {
  if (options.report_to != "tensorboard") return;
  const EventPlace place = event_place(options);
  io::cut_event_files(place.directory, place.suffix, first_step);
  events_.emplace(place.directory, place.suffix, first_step + 1);
}

void RunFiles::add(const TrainStep& step) {
  if (metrics_.add(step)) add_events();
}

void RunFiles::add_events() {
  if (!events_) return;
  const MetricsRow& row = metrics_.rows().back();
  // Tags and what they mean are transformers'; the last one is ours.
  const std::array<io::ScalarValue, 5> scalars = {
      {{"train/loss", row.loss},
       {"train/grad_norm", row.gradient_norm},
       {"train/learning_rate", row.learning_rate},
       {"train/epoch", row.epoch},
       {"train/tokens_per_second", row.tokens_per_second}}};
  events_->add(row.step, scalars);
}

void RunFiles::finish(TrainReport& report) {
  if (metrics_.finish()) add_events();
  report.final_loss = metrics_.rows().empty() ? 0 : metrics_.rows().back().loss;
  for (const MetricsRow& row : metrics_.rows()) {
    if (std::isfinite(row.loss)) report.losses.push_back({row.step, row.loss});
  }
}

void RunFiles::write_pages(const TrainReport& report) const {
  if (metrics_.rows().empty()) return;
  write_whole(options_.output_dir / "training.svg", loss_curve(metrics_.rows()));
  write_whole(options_.output_dir / "training.html",
              training_page(options_, report, metrics_.rows()));
}

void check_reports(const TrainOptions& options) {
  if (options.report_to == "none" || options.report_to == "tensorboard") return;
  fail(ErrorCode::kInvalidArgument, "report_to: expected none or tensorboard, got \"{}\"",
       options.report_to);
}

}  // namespace tamis::training
