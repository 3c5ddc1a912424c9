#include "fake_nvml.h"

extern "C" int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count,
                                                       void* records) {
  return tamis::fakes::running_processes("nvmlDeviceGetComputeRunningProcesses_v3", device, count,
                                         records, fake_nvml()->v3_record_bytes);
}
