#pragma once

// An NVIDIA card as a device of the engine. In a library of its own, see plugin.h.

#include <memory>

#include "backend/cuda/plugin.h"
#include "device/device.h"

namespace tamis::cuda {

/// Card `index` as CUDA counts. Errors: unavailable (no driver, or too old a one), invalid_argument
/// (no such card: lists those that there are).
std::shared_ptr<Device> make_device(int index, const CudaOptions& options);

}  // namespace tamis::cuda
