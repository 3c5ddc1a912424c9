#pragma once

// metrics.jsonl: a line for every so many steps; and the curve of the losses.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tamis/train.h"

namespace tamis::training {

/// The losses over the steps as a picture: SVG, readable on a light and on a dark page.
std::string loss_curve_svg(const std::vector<LossPoint>& losses);

class MetricsLog {
 public:
  /// Keeps the lines of steps up to first_step of what is there. Errors: unavailable.
  MetricsLog(const std::filesystem::path& path, int64_t first_step, int64_t every);
  /// Errors: resource_exhausted (the disk is full), unavailable.
  void add(const TrainStep& step);
  /// Writes what has not been written yet.
  void finish();
  double last_loss() const { return last_loss_; }
  /// Of every line, those before a resume too.
  const std::vector<LossPoint>& losses() const { return losses_; }

 private:
  void write();

  std::filesystem::path path_;
  std::ofstream file_;
  std::vector<LossPoint> losses_;
  int64_t every_;
  int64_t count_ = 0;  ///< steps since the last line
  double loss_ = 0, seconds_ = 0, last_loss_ = 0;
  size_t tokens_ = 0;
  TrainStep last_;
};

}  // namespace tamis::training
