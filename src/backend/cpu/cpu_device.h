#pragma once

#include <memory>

#include "device/device.h"

namespace tamis {

/// All cores, SIMD kernels of the best (or the named) instruction set, weights packed for them.
/// Errors: invalid_argument (an isa that this machine lacks, negative threads).
std::unique_ptr<Device> make_cpu_device(const DeviceOptions& options);

}  // namespace tamis
