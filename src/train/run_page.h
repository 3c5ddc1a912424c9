#pragma once

// A run as a page: its curves, what it was asked for, what it took and how it ended.

#include <string>
#include <utility>
#include <vector>

#include "tamis/train.h"
#include "train/metrics.h"

namespace tamis::training {

/// The losses over the steps as a picture: SVG, readable on a light and on a dark ground.
std::string loss_curve(const std::vector<MetricsRow>& rows);

/// Name and value of each option that is not as TrainOptions has it, in their order there.
std::vector<std::pair<std::string, std::string>> changed_options(const TrainOptions& options);

/// HTML; needs no other file.
std::string training_page(const TrainOptions& options, const TrainReport& report,
                          const std::vector<MetricsRow>& rows);

}  // namespace tamis::training
