// Kernels of the fake libcudart: what nvcc's code registers, and launches, which run the twins.

#include <algorithm>
#include <cstring>
#include <vector>

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

struct LaunchConfiguration {
  dim3 grid, block;
  size_t shared = 0;
  cudaStream_t stream = nullptr;
};

thread_local std::vector<LaunchConfiguration> configurations;

/// By host function or by cudaKernel_t, as note_cudaKernel_t of the header allows for both.
Kernel* find_kernel(const State& state, const void* function) {
  if (const auto known = state.kernels.find(function); known != state.kernels.end()) {
    return known->second.get();
  }
  for (const auto& kernel : state.kernels) {
    if (kernel.second.get() == function) return kernel.second.get();
  }
  return nullptr;
}

std::string text_of(const dim3& d) {
  return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
}

/// "" or why a launch can never run.
std::string trouble_with(const Device& device, const Kernel& kernel, const dim3& grid,
                         const dim3& block, size_t shared) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) {
    return "a block of " + text_of(block) + " threads";
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFF || grid.y > 65535 ||
      grid.z > 65535) {
    return "a grid of " + text_of(grid) + " blocks";
  }
  size_t allowed = device.facts.shared_bytes;
  const auto raised = kernel.dynamic_shared.find(device.index);
  if (raised != kernel.dynamic_shared.end()) {
    allowed = std::max(allowed, static_cast<size_t>(raised->second));
  }
  if (shared > allowed) {
    return std::to_string(shared) + " bytes of shared memory, " + std::to_string(allowed) +
           " are allowed for it on this device";
  }
  return "";
}

/// Pointers among the arguments that the device must not follow. An argument is known to be one by
/// its value: nothing else looks like an address in a device's region.
cudaError_t check_arguments(State& state, const Device& device, const std::string& what,
                            const std::vector<std::byte>& arguments) {
  for (size_t at = 0; at + sizeof(void*) <= arguments.size(); at += sizeof(void*)) {
    const void* p = nullptr;
    std::memcpy(&p, arguments.data() + at, sizeof p);
    const Device* owner = state.device_of(p);
    if (owner == nullptr) continue;
    const std::string which = what + ": the pointer at byte " + std::to_string(at) +
                              " of its arguments, " + hex(p) + ", ";
    if (owner != &device) {
      state.complaints.push_back(which + "is memory of device " + std::to_string(owner->index));
      return cudaErrorIllegalAddress;
    }
    // Up to the end of the guard: an empty array may begin behind the last byte.
    auto block = device.allocations.upper_bound(static_cast<std::byte*>(const_cast<void*>(p)));
    bool inside = false;
    if (block != device.allocations.begin()) {
      --block;
      inside = p <= block->first + block->second.reserved;
    }
    if (!inside) state.complaints.push_back(which + "is not in live memory of its device");
  }
  return cudaSuccess;
}

cudaError_t launch(Call& call, const void* function, const dim3& grid, const dim3& block,
                   void** arguments, size_t shared, cudaStream_t handle) {
  if (call.failed()) return call.error();
  State& state = call.state;
  const Kernel* kernel = find_kernel(state, function);
  if (kernel == nullptr) {
    return call.refuse(cudaErrorInvalidDeviceFunction,
                       "no kernel was registered at " + hex(function));
  }
  const auto twin = state.twins.find(kernel->name);
  if (twin == state.twins.end()) {
    return call.refuse(cudaErrorInvalidDeviceFunction, "kernel " + kernel->name + " has no twin");
  }
  Device& device = *call.device();
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  if (stream->device != &device) {
    return call.refuse(cudaErrorInvalidResourceHandle,
                       kernel->name + ": the stream is not of the current device");
  }
  if (const std::string trouble = trouble_with(device, *kernel, grid, block, shared);
      !trouble.empty()) {
    return call.refuse(cudaErrorInvalidConfiguration, kernel->name + ": " + trouble);
  }
  const size_t bytes = twin->second.argument_bytes;
  if (bytes != 0 && (arguments == nullptr || arguments[0] == nullptr)) {
    return call.refuse(cudaErrorInvalidValue, kernel->name + ": no arguments");
  }
  std::vector<std::byte> copied(bytes);
  if (bytes != 0) std::memcpy(copied.data(), arguments[0], bytes);
  // Shared by all runs of a graph; a twin gets them const, as a kernel gets a copy each time.
  const auto kept = std::make_shared<const std::vector<std::byte>>(std::move(copied));

  Work work;
  work.what = "kernel " + kernel->name;
  work.computes = true;
  work.admit = [&state, &device, kept, name = kernel->name, what = work.what] {
    ++state.counts.launches[name];
    return check_arguments(state, device, what, *kept);
  };
  work.run = [kept, grid, block, shared, run = twin->second.run] {
    run(kept->data(), grid, block, shared);
  };
  const cudaError_t error = state.enqueue(*stream, std::move(work));
  if (error != cudaSuccess) return call.refuse(error, "not possible in or beside this capture");
  return call.done();
}

cudaError_t get_kernel(Call& call, cudaKernel_t* result, const void* function) {
  if (result == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  Kernel* kernel = find_kernel(call.state, function);
  if (kernel == nullptr) {
    return call.refuse(cudaErrorInvalidDeviceFunction,
                       "no kernel was registered at " + hex(function));
  }
  *result = reinterpret_cast<cudaKernel_t>(kernel);
  return call.done();
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                             size_t shared, cudaStream_t stream) {
  Call call("cudaLaunchKernel");
  return launch(call, function, grid, block, arguments, shared, stream);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  Call call("cudaFuncSetAttribute");
  if (call.failed()) return call.error();
  Kernel* kernel = find_kernel(call.state, function);
  if (kernel == nullptr) {
    return call.refuse(cudaErrorInvalidDeviceFunction,
                       "no kernel was registered at " + hex(function));
  }
  const Device& device = *call.device();
  switch (attribute) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
      if (value < 0 || static_cast<size_t>(value) > device.facts.shared_optin_bytes) {
        return call.refuse(cudaErrorInvalidValue,
                           kernel->name + ": " + std::to_string(value) + " bytes of shared memory");
      }
      // For the function as it is on the current device; others keep their limit.
      kernel->dynamic_shared[device.index] = value;
      return call.done();
    case cudaFuncAttributePreferredSharedMemoryCarveout:  // "This is only a hint", in percent
      if (value < -1 || value > 100) {
        return call.refuse(cudaErrorInvalidValue, "a carveout of " + std::to_string(value) + " %");
      }
      return call.done();
    default:
      return call.refuse(cudaErrorInvalidValue,
                         "attribute " + std::to_string(attribute) + " cannot be written here");
  }
}

cudaError_t cudaGetKernel(cudaKernel_t* result, const void* function) {
  Call call("cudaGetKernel", Call::kNone);
  return get_kernel(call, result, function);
}

// --- What the code that nvcc makes calls (crt/host_runtime.h, crt/device_functions.h).

void** __cudaRegisterFatBinary(void* fat_binary) {
  // The value only tells which functions go together.
  return new void*(fat_binary);
}

void __cudaRegisterFatBinaryEnd(void** /*binary*/) {}

void __cudaUnregisterFatBinary(void** binary) {
  State& state = State::get();
  const Lock lock(state.mutex);
  std::erase_if(state.kernels, [&](const auto& kernel) { return kernel.second->binary == binary; });
  delete binary;
}

void __cudaRegisterFunction(void** binary, const char* host_function, char* /*device_function*/,
                            const char* device_name, int /*thread_limit*/, uint3* /*thread*/,
                            uint3* /*block*/, dim3* /*block_size*/, dim3* /*grid_size*/,
                            int* /*warp_size*/) {
  State& state = State::get();
  const Lock lock(state.mutex);
  auto kernel = std::make_unique<Kernel>();
  kernel->name = device_name;
  kernel->host = host_function;
  kernel->binary = binary;
  state.kernels[host_function] = std::move(kernel);
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  if (configurations.empty()) {
    Call call("__cudaPopCallConfiguration", Call::kNone);
    return call.refuse(cudaErrorMissingConfiguration, "nothing was pushed");
  }
  const LaunchConfiguration top = configurations.back();
  configurations.pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared = top.shared;
  *static_cast<cudaStream_t*>(stream) = top.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* result, const void* function) {
  Call call("__cudaGetKernel", Call::kNone);
  return get_kernel(call, result, function);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                               size_t shared, cudaStream_t stream) {
  Call call("__cudaLaunchKernel");
  return launch(call, kernel, grid, block, arguments, shared, stream);
}

}  // extern "C"
