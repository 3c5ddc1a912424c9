#pragma once

// Devices as a table for people.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tamis/device.h"

namespace tamis::cli {

struct DevicesLook {
  size_t columns = 0;     ///< of the terminal; 0: texts are not cut
  bool decorate = false;  ///< bars and colours
};

/// A line each, without line ends, none wider than the terminal (if that has 80 columns).
std::vector<std::string> device_lines(std::span<const DeviceStatus> devices,
                                      const DevicesLook& look);

}  // namespace tamis::cli
