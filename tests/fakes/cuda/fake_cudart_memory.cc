// Device and pinned memory of the fake libcudart: where it lies, poison, guards, protection.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kGuard = 256;
constexpr auto kPoison = 0xFF;  // a NaN as float, half and bfloat16, and -1 as an integer
constexpr std::byte kGuardByte{0xC5};

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

void set_guard(std::byte* p, const Allocation& allocation) {
  std::fill(p + allocation.bytes, p + allocation.reserved, kGuardByte);
}

bool guard_intact(const std::byte* p, const Allocation& allocation) {
  return std::all_of(p + allocation.bytes, p + allocation.reserved,
                     [](std::byte b) { return b == kGuardByte; });
}

}  // namespace

Device::~Device() {
  if (region != nullptr) munmap(region, region_bytes);
}

void Device::make_region() {
  // More addresses than memory, so that neither the guards nor holes between allocations make one
  // fail for which `used` has room. Only what is touched costs anything.
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  region_bytes = round_up(2 * facts.memory_bytes + (size_t{16} << 20), page);
  void* p =
      mmap(nullptr, region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::perror("fake libcudart: mmap of a device's memory");
    std::abort();
  }
  madvise(p, region_bytes, MADV_HUGEPAGE);  // a change of protection costs time by the page
  region = static_cast<std::byte*>(p);
}

void Device::set_access(bool accessible) {
  if (accessible == open) return;
  if (mprotect(region, region_bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) != 0) {
    std::perror("fake libcudart: mprotect of a device's memory");
    std::abort();
  }
  open = accessible;
}

bool Device::contains(const void* p) const {
  const auto* at = static_cast<const std::byte*>(p);
  return at >= region && at < region + region_bytes;
}

std::map<std::byte*, Allocation>::const_iterator Device::find(const void* p, size_t bytes) const {
  auto* at = static_cast<std::byte*>(const_cast<void*>(p));
  auto found = allocations.upper_bound(at);
  if (found == allocations.begin()) return allocations.end();
  --found;
  const auto offset = static_cast<size_t>(at - found->first);
  const size_t size = found->second.bytes;
  return offset <= size && bytes <= size - offset ? found : allocations.end();
}

std::byte* Device::allocate(size_t bytes) {
  if (bytes > facts.memory_bytes) return nullptr;
  const size_t counted = round_up(bytes, kAlignment);
  if (used > facts.memory_bytes || counted > facts.memory_bytes - used) return nullptr;
  const Allocation made{bytes, counted + kGuard};
  // The first hole, so that no more memory of the host is touched than the peak needs.
  std::byte* at = region;
  for (const auto& [start, allocation] : allocations) {
    if (static_cast<size_t>(start - at) >= made.reserved) break;
    at = start + allocation.reserved;
  }
  if (made.reserved > static_cast<size_t>(region + region_bytes - at)) return nullptr;
  allocations[at] = made;
  used += counted;
  std::memset(at, State::get().setup.compute ? kPoison : 0, bytes);
  set_guard(at, made);
  return at;
}

void Device::release(std::byte* p) {
  const auto found = allocations.find(p);
  const Allocation freed = found->second;
  std::memset(p, kPoison, freed.reserved);
  used -= freed.reserved - kGuard;
  allocations.erase(found);
}

std::vector<std::string> Device::damaged_guards() {
  std::vector<std::string> texts;
  for (const auto& [start, allocation] : allocations) {
    if (guard_intact(start, allocation)) continue;
    set_guard(start, allocation);
    texts.push_back("bytes behind the allocation of " + std::to_string(allocation.bytes) +
                    " bytes at " + hex(start) + " were written");
  }
  return texts;
}

namespace {

cudaError_t allocate_pinned(Call& call, void** p, size_t bytes) {
  if (call.failed()) return call.error();
  if (p == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  if (call.unsafe()) return call.error();
  if (call.state.allocation_fails()) return call.done(cudaErrorMemoryAllocation);
  if (bytes == 0) {
    *p = nullptr;
    return call.done();
  }
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes > SIZE_MAX - page) return call.done(cudaErrorMemoryAllocation);
  void* made = std::aligned_alloc(page, round_up(bytes, page));
  if (made == nullptr) return call.done(cudaErrorMemoryAllocation);
  std::memset(made, kPoison, bytes);
  call.state.pinned[static_cast<std::byte*>(made)] = bytes;
  *p = made;
  return call.done();
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaMalloc(void** p, size_t bytes) {
  Call call("cudaMalloc");
  if (call.failed()) return call.error();
  if (p == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  if (call.unsafe()) return call.error();
  if (call.state.allocation_fails()) return call.done(cudaErrorMemoryAllocation);
  if (bytes == 0) {
    *p = nullptr;
    return call.done();
  }
  Device& device = *call.device();
  if (device.allocation_fails()) return call.done(cudaErrorMemoryAllocation);
  call.state.wait_not_busy(call.lock, device);
  device.set_access(true);
  std::byte* made = device.allocate(bytes);
  call.state.close_regions();
  if (made == nullptr) return call.done(cudaErrorMemoryAllocation);
  *p = made;
  return call.done();
}

cudaError_t cudaFree(void* p) {
  // A broken device's memory is taken off the books too: a test can see that all was given back.
  Call call("cudaFree", Call::kNone);
  State& state = call.state;
  if (p == nullptr) {
    call.device();
    return call.error();
  }
  Device* device = state.device_of(p);
  if (device == nullptr) {
    return call.refuse(cudaErrorInvalidValue, hex(p) + " is not memory of a device");
  }
  if (call.unsafe()) return call.error();
  if (state.setup.free_synchronizes && device->broken == cudaSuccess) {
    state.run_until(call.lock, *device, [device] {
      return std::all_of(device->streams.begin(), device->streams.end(),
                         [](const auto& stream) { return stream->idle(); });
    });
  }
  state.wait_not_busy(call.lock, *device);
  if (device->allocations.count(static_cast<std::byte*>(p)) == 0) {
    return call.refuse(cudaErrorInvalidValue,
                       hex(p) + " is not the start of a live allocation (freed twice?)");
  }
  device->set_access(true);
  for (const std::string& text : device->damaged_guards()) {
    state.complaints.push_back("cudaFree finds: " + text);
  }
  device->release(static_cast<std::byte*>(p));
  state.close_regions();
  return call.done(device->broken);
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  Call call("cudaMallocHost");
  return allocate_pinned(call, p, bytes);
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned flags) {
  Call call("cudaHostAlloc");
  constexpr unsigned known =
      cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
  if (!call.failed() && (flags & ~known) != 0) {
    return call.refuse(cudaErrorInvalidValue, "unknown flags " + std::to_string(flags));
  }
  return allocate_pinned(call, p, bytes);
}

cudaError_t cudaFreeHost(void* p) {
  Call call("cudaFreeHost", Call::kNone);
  State& state = call.state;
  if (p != nullptr) {
    if (call.unsafe()) return call.error();
    // A command of another thread may be at work in it.
    for (const auto& device : state.devices) state.wait_not_busy(call.lock, *device);
    if (state.pinned.erase(static_cast<std::byte*>(p)) == 0) {
      return call.refuse(cudaErrorInvalidValue,
                         hex(p) + " is not the start of live pinned memory (freed twice?)");
    }
    std::free(p);
  }
  call.device();
  return call.error();
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  Call call("cudaMemGetInfo");
  if (call.failed()) return call.error();
  if (free_bytes == nullptr || total_bytes == nullptr) {
    return call.refuse(cudaErrorInvalidValue, "null pointer to a result");
  }
  const Device& device = *call.device();
  *total_bytes = device.facts.memory_bytes;
  *free_bytes = device.facts.memory_bytes - std::min(device.facts.memory_bytes, device.used);
  return call.done();
}

}  // extern "C"
