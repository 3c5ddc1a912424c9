#pragma once

#include <memory>

#include "base/host.h"
#include "device/device.h"

namespace tamis {

/// The specification: plain loops, sums in double, one thread.
std::shared_ptr<Device> make_ref_device(const HostProbe& host);

}  // namespace tamis
