#pragma once

// Where the tests of the engine put their models: simulated accelerators. tests/cuda/on_cards has
// the header of the same name for the same tests on cards.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tamis/device.h"
#include "tamis/types.h"

namespace tamis {

/// Large pieces of work are so many times smaller here.
inline constexpr size_t kSmaller = 1;

/// How far f16 scores may be from the cpu's, which multiplies f16 by f32 as well.
inline constexpr double kF16Apart = 1e-3;

/// A place for the model, by its name; sims are described by `sims`.
inline LoadOptions on(const std::string& device, std::vector<std::string> sims = {}) {
  LoadOptions options;
  options.device = device;
  DevicesOptions devices;
  devices.sims = std::move(sims);
  devices.cuda_plugin = "none";  // tests/cuda has GPUs
  options.devices = std::make_shared<Devices>(devices);
  return options;
}

}  // namespace tamis
