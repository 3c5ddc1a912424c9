#pragma once

#include <memory>
#include <string>

#include "backend/sim/sim_state.h"
#include "device/device.h"

namespace tamis {

/// A simulated accelerator: memory of its own that the host cannot touch, work that runs only when
/// somebody waits for it and in any order that its events allow, a given size and speed, and faults
/// on request. What works here without a special case works on a GPU.
/// `state` may be changed while the device works. `host` has host_memory; its ops do the
/// arithmetic, on one thread.
std::shared_ptr<Device> make_sim_device(const std::string& name, std::shared_ptr<SimState> state,
                                        std::shared_ptr<Device> host);

}  // namespace tamis
