#pragma once

// What a run leaves beside the model: metrics.jsonl, TensorBoard's events, training.svg and
// training.html.

#include <cstdint>
#include <filesystem>
#include <optional>

#include "io/event_file.h"
#include "tamis/train.h"
#include "train/metrics.h"

namespace tamis::training {

class RunFiles {
 public:
  /// What a run before this one wrote of steps after first_step goes. The directory exists.
  /// Errors: unavailable.
  RunFiles(const TrainOptions& options, int64_t first_step);
  /// Errors: resource_exhausted (the disk is full), unavailable.
  void add(const TrainStep& step);
  /// What add has not written yet, and the losses of the report.
  void finish(TrainReport& report);
  /// The pictures, once the report is complete.
  void write_pages(const TrainReport& report) const;

 private:
  void add_events();

  const TrainOptions& options_;
  MetricsLog metrics_;
  std::optional<io::EventFile> events_;
};

/// Errors: invalid_argument (report_to is no word that is known).
void check_reports(const TrainOptions& options);

}  // namespace tamis::training
