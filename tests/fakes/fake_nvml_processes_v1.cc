#include "fake_nvml.h"

extern "C" int nvmlDeviceGetComputeRunningProcesses(void* device, unsigned* count, void* records) {
  return tamis::fakes::running_processes("nvmlDeviceGetComputeRunningProcesses", device, count,
                                         records, 16);
}
