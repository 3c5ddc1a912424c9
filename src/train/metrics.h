#pragma once

// metrics.jsonl: a line for every so many steps.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tamis/train.h"

namespace tamis::training {

/// A line: means and sums over the steps since the line before.
struct MetricsRow {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0;           ///< NaN where it was not finite
  double gradient_norm = 0;  ///< of the last step; NaN as above
  double learning_rate = 0;
  double tokens_per_second = 0;
};

class MetricsLog {
 public:
  /// Keeps the lines of steps up to first_step of what is there. Errors: unavailable.
  MetricsLog(const std::filesystem::path& path, int64_t first_step, int64_t every);
  /// Whether a line was written: the last of rows().
  /// Errors: resource_exhausted (the disk is full), unavailable.
  bool add(const TrainStep& step);
  /// Writes what has not been written yet; as add.
  bool finish();
  /// Of every line, those before a resume too.
  const std::vector<MetricsRow>& rows() const { return rows_; }

 private:
  void write();

  std::filesystem::path path_;
  std::ofstream file_;
  std::vector<MetricsRow> rows_;
  int64_t every_;
  int64_t count_ = 0;  ///< steps since the last line
  double loss_ = 0, seconds_ = 0;
  size_t tokens_ = 0;
  TrainStep last_;
};

}  // namespace tamis::training
