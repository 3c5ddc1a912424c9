#pragma once

#include <memory>

#include "device/device.h"

namespace tamis {

/// The specification: plain loops, sums in double, one thread.
std::unique_ptr<Device> make_ref_device();

}  // namespace tamis
