#include "fake_nvml.h"

extern "C" int nvmlDeviceGetComputeRunningProcesses_v2(void* device, unsigned* count,
                                                       void* records) {
  return tamis::fakes::running_processes("nvmlDeviceGetComputeRunningProcesses_v2", device, count,
                                         records, 24);
}
