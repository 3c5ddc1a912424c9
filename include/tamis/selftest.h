#pragma once

// Does a device compute what it should? Every op against the specification, runs side by side for
// races, a model's scores against the cpu's, and what it all costs: on the user's own machine.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/device.h"

namespace tamis {

struct SelftestOptions {
  std::string device = "cuda:0";  ///< one device, as `to` takes it
  DevicesOptions devices;
  std::filesystem::path model;  ///< for the scores; empty = they are left out
  int rounds = 20;              ///< of the search for races
  bool times = true;            ///< measure speed too
  /// Called before each part with its name.
  std::function<void(std::string_view)> progress = {};
};

/// One comparison: the largest |got - want| and what it may be.
struct SelftestCheck {
  std::string name;  ///< "attention f16, 4 heads of 64"
  bool passed = false;
  double error = 0;  ///< NaN if the device gave one
  double tolerance = 0;
  std::string problem;  ///< the error that the device raised, if it did
};

/// Measured on this device by this run, wall time with everything queued in advance.
struct SelftestTiming {
  std::string name;
  double milliseconds = 0;
  double gflops = 0;
};

struct SelftestReport {
  std::string device;
  std::string description;
  std::vector<SelftestCheck> checks;
  std::vector<SelftestTiming> timings;
  /// Options that make it right where it is not, as DevicesOptions::cuda_options takes them; "" if
  /// none are needed or none would help.
  std::string advice;
  bool passed() const;
};

/// Runs all parts; what fails is in the report, not an error. Takes seconds, and about 300 MB of
/// the device. Errors: those of opening the device or the model; invalid_argument (several
/// devices).
SelftestReport selftest(const SelftestOptions& options);

}  // namespace tamis
