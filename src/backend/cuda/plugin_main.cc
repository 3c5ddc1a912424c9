// The one symbol of the library.

#include <cuda_runtime_api.h>

#include "backend/cuda/cuda_device.h"

extern "C" __attribute__((visibility("default"))) const tamis::CudaPlugin* tamis_cuda_plugin() {
  static const tamis::CudaPlugin plugin{tamis::kCudaPluginBuild, CUDART_VERSION,
                                        tamis::cuda::make_device};
  return &plugin;
}
