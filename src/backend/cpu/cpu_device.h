#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/host.h"
#include "device/device.h"

namespace tamis {

struct CpuDeviceOptions {
  std::string name = "cpu";
  std::vector<int> cores;  ///< those that it may use; empty = all of this process
  int node = -1;           ///< the NUMA node whose cores and memory it is; -1 = the machine
  std::string isa;         ///< "" = best
};

/// SIMD kernels of the best (or the named) instruction set, weights packed for them. Streams with
/// the same threads and cores share one pool, and so take turns.
/// Errors: invalid_argument (an isa that this machine lacks).
std::shared_ptr<Device> make_cpu_device(const CpuDeviceOptions& options, const HostProbe& host);

/// Instruction sets that it can use here, best first.
std::vector<std::string> cpu_isas();

}  // namespace tamis
