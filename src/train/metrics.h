#pragma once

// metrics.jsonl: a line for every so many steps.

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "tamis/train.h"

namespace tamis::training {

class MetricsLog {
 public:
  /// Keeps the lines of steps up to first_step of what is there. Errors: unavailable.
  MetricsLog(const std::filesystem::path& path, int64_t first_step, int64_t every);
  /// Errors: resource_exhausted (the disk is full), unavailable.
  void add(const TrainStep& step);
  /// Writes what has not been written yet.
  void finish();
  double last_loss() const { return last_loss_; }

 private:
  void write();

  std::filesystem::path path_;
  std::ofstream file_;
  int64_t every_;
  int64_t count_ = 0;  ///< steps since the last line
  double loss_ = 0, seconds_ = 0, last_loss_ = 0;
  size_t tokens_ = 0;
  TrainStep last_;
};

}  // namespace tamis::training
