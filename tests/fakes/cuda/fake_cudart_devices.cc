// The devices of the fake libcudart and what they say about themselves.

#include <cstring>

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

/// The limits that every card of the last years has.
constexpr int kWarp = 32;
constexpr int kRegisters = 65536;

cudaDeviceProp properties_of(const Device& device) {
  const FakeDevice& facts = device.facts;
  cudaDeviceProp prop{};
  facts.name.copy(prop.name, sizeof prop.name - 1);
  std::memcpy(prop.uuid.bytes, facts.uuid.data(), facts.uuid.size());
  prop.totalGlobalMem = facts.memory_bytes;
  prop.sharedMemPerBlock = facts.shared_bytes;
  prop.sharedMemPerBlockOptin = facts.shared_optin_bytes;
  prop.reservedSharedMemPerBlock = 1024;
  prop.sharedMemPerMultiprocessor = facts.shared_optin_bytes + prop.reservedSharedMemPerBlock;
  prop.regsPerBlock = prop.regsPerMultiprocessor = kRegisters;
  prop.warpSize = kWarp;
  prop.memPitch = 0x7FFFFFFF;
  prop.maxThreadsPerBlock = 1024;
  prop.maxThreadsDim[0] = prop.maxThreadsDim[1] = 1024;
  prop.maxThreadsDim[2] = 64;
  prop.maxGridSize[0] = 0x7FFFFFFF;
  prop.maxGridSize[1] = prop.maxGridSize[2] = 65535;
  prop.totalConstMem = 65536;
  prop.major = facts.major;
  prop.minor = facts.minor;
  prop.textureAlignment = 512;
  prop.multiProcessorCount = facts.multiprocessors;
  prop.canMapHostMemory = 1;
  prop.concurrentKernels = 1;
  prop.pciBusID = device.index + 1;
  prop.asyncEngineCount = 2;
  prop.unifiedAddressing = 1;
  prop.memoryBusWidth = 256;
  prop.l2CacheSize = 4 << 20;
  prop.maxThreadsPerMultiProcessor = 1536;
  prop.maxBlocksPerMultiProcessor = 16;
  prop.hostNumaId = -1;
  return prop;
}

int attribute_of(const Device& device, cudaDeviceAttr attribute) {
  const cudaDeviceProp prop = properties_of(device);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      return prop.maxThreadsPerBlock;
    case cudaDevAttrMaxBlockDimX:
      return prop.maxThreadsDim[0];
    case cudaDevAttrMaxBlockDimY:
      return prop.maxThreadsDim[1];
    case cudaDevAttrMaxBlockDimZ:
      return prop.maxThreadsDim[2];
    case cudaDevAttrMaxGridDimX:
      return prop.maxGridSize[0];
    case cudaDevAttrMaxGridDimY:
      return prop.maxGridSize[1];
    case cudaDevAttrMaxGridDimZ:
      return prop.maxGridSize[2];
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return static_cast<int>(prop.sharedMemPerBlock);
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return static_cast<int>(prop.sharedMemPerBlockOptin);
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return static_cast<int>(prop.sharedMemPerMultiprocessor);
    case cudaDevAttrReservedSharedMemoryPerBlock:
      return static_cast<int>(prop.reservedSharedMemPerBlock);
    case cudaDevAttrTotalConstantMemory:
      return static_cast<int>(prop.totalConstMem);
    case cudaDevAttrWarpSize:
      return prop.warpSize;
    case cudaDevAttrMaxPitch:
      return static_cast<int>(prop.memPitch);
    case cudaDevAttrMaxRegistersPerBlock:
      return prop.regsPerBlock;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      return prop.regsPerMultiprocessor;
    case cudaDevAttrTextureAlignment:
      return static_cast<int>(prop.textureAlignment);
    case cudaDevAttrGpuOverlap:
      return 1;
    case cudaDevAttrMultiProcessorCount:
      return prop.multiProcessorCount;
    case cudaDevAttrCanMapHostMemory:
      return prop.canMapHostMemory;
    case cudaDevAttrConcurrentKernels:
      return prop.concurrentKernels;
    case cudaDevAttrPciBusId:
      return prop.pciBusID;
    case cudaDevAttrAsyncEngineCount:
      return prop.asyncEngineCount;
    case cudaDevAttrUnifiedAddressing:
      return prop.unifiedAddressing;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
      return 1000000;
    case cudaDevAttrGlobalMemoryBusWidth:
      return prop.memoryBusWidth;
    case cudaDevAttrL2CacheSize:
      return prop.l2CacheSize;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return prop.maxThreadsPerMultiProcessor;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      return prop.maxBlocksPerMultiProcessor;
    case cudaDevAttrComputeCapabilityMajor:
      return prop.major;
    case cudaDevAttrComputeCapabilityMinor:
      return prop.minor;
    case cudaDevAttrHostNumaId:
      return prop.hostNumaId;
    default:
      return 0;  // what it can do besides, it cannot
  }
}

/// Null, with the error told, unless there is such a device and it works.
Device* numbered(Call& call, int index) {
  if (call.failed()) return nullptr;
  if (index < 0 || static_cast<size_t>(index) >= call.state.devices.size()) {
    call.refuse(cudaErrorInvalidDevice, "there is no device " + std::to_string(index));
    return nullptr;
  }
  Device* device = call.state.devices[static_cast<size_t>(index)].get();
  if (device->broken == cudaSuccess) return device;
  call.done(device->broken);
  return nullptr;
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  Call call("cudaGetDeviceCount", Call::kNone);
  if (count == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  *count = static_cast<int>(call.state.devices.size());
  if (call.state.setup.driver_version < CUDART_VERSION) {
    *count = 0;
    return call.done(cudaErrorInsufficientDriver);
  }
  call.device();  // no device, or the current one is broken
  return call.error();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int index) {
  Call call("cudaGetDeviceProperties");
  const Device* device = numbered(call, index);
  if (device == nullptr) return call.error();
  if (prop == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  *prop = properties_of(*device);
  return call.done();
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  Call call("cudaDeviceGetAttribute");
  const Device* device = numbered(call, index);
  if (device == nullptr) return call.error();
  if (value == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  if (attribute <= 0 || attribute >= cudaDevAttrMax) {
    return call.refuse(cudaErrorInvalidValue, "no attribute " + std::to_string(attribute));
  }
  *value = attribute_of(*device, attribute);
  return call.done();
}

cudaError_t cudaSetDevice(int index) {
  Call call("cudaSetDevice", Call::kNone);
  if (call.state.devices.empty()) {
    call.device();
    return call.error();
  }
  if (index < 0 || static_cast<size_t>(index) >= call.state.devices.size()) {
    return call.refuse(cudaErrorInvalidDevice, "there is no device " + std::to_string(index));
  }
  // A thread leaves a broken device, and chooses one, which then says that it is broken.
  current_device = index;
  call.device();
  return call.error();
}

cudaError_t cudaGetDevice(int* index) {
  Call call("cudaGetDevice");
  if (call.failed()) return call.error();
  if (index == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  *index = current_device;
  return call.done();
}

cudaError_t cudaDriverGetVersion(int* version) {
  Call call("cudaDriverGetVersion", Call::kNone);
  if (version == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  *version = call.state.setup.driver_version;
  return call.done();
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  Call call("cudaRuntimeGetVersion", Call::kNone);
  if (version == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  *version = CUDART_VERSION;
  return call.done();
}

}  // extern "C"
