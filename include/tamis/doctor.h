#pragma once

// Why is it slow, on the wrong card, out of memory: measured, and answered by name.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/device.h"
#include "tamis/types.h"

namespace tamis {

enum class Severity {
  kOk,
  kInfo,     ///< good to know
  kWarning,  ///< it works, and could work better
  kProblem,  ///< it does not do what was asked
};

std::string_view name_of(Severity severity);  ///< "ok", "info", "warning", "problem"

struct Finding {
  std::string id;  ///< stable: "memory.does_not_fit"
  Severity severity = Severity::kOk;
  std::string title;
  std::string what;  ///< what was measured or found
  std::string fix;   ///< a command, or what to do; empty if there is nothing to mend
};

struct DoctorOptions {
  std::filesystem::path model;  ///< empty: machine and devices only
  LoadOptions load;             ///< as the model would be loaded: device, dtype, limit, threads
  size_t max_length = 512;      ///< of a pair or text, as it would be asked for
  int limit_ms = 10000;         ///< no measurement is begun after this; loading does not count
  /// From the environment, which the library itself does not read; none: not set.
  std::optional<std::string> cuda_visible_devices;
  std::optional<std::string> omp_num_threads;
};

struct DoctorReport {
  std::vector<Finding> findings;     ///< problems first
  std::vector<Placement> placement;  ///< of the model, if it could be loaded
};

/// Looks at the machine, at the devices, and with a model at its memory plan; loads it as asked,
/// and measures. Whatever is wrong with the model or the devices is a finding, not an error.
/// Errors: invalid_argument (dtype).
DoctorReport examine(const DoctorOptions& options);

}  // namespace tamis
