#pragma once

#include <span>
#include <string_view>

namespace tamis {

struct CalibrationText {
  std::string_view query;
  std::string_view passage;
};

/// A few questions and passages in the languages that the models are used for, some of them right
/// answers. int8 of a checkpoint that nobody calibrated is calibrated on these at load.
std::span<const CalibrationText> calibration_texts();

}  // namespace tamis
