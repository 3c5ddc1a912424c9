#include "device/host_device.h"

#include <cstring>

#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis {
namespace {

class DoneEvent : public Event {
 public:
  void synchronize(std::chrono::milliseconds) override {}
};

// Linux grants more memory than there is and kills the process when it is used. Larger requests
// than this are held against what is really free.
constexpr size_t kCheckedBytes = size_t{64} << 20;

}  // namespace

MemoryInfo HostDevice::memory() const {
  const HostMemory memory = host_.memory();
  return {memory.limit_bytes, memory.free_bytes};
}

std::byte* HostDevice::allocate_bytes(size_t bytes) {
  if (bytes >= kCheckedBytes) {
    const MemoryInfo now = memory();
    if (now.total_bytes > 0 && bytes > now.free_bytes) {
      fail(ErrorCode::kResourceExhausted, "{}: {} needed, {} of {} are free", info_.name,
           format_bytes(bytes), format_bytes(now.free_bytes), format_bytes(now.total_bytes));
    }
  }
  std::byte* data = allocate_host(bytes);
  adopt_bytes(data, bytes);
  return data;
}

std::byte* HostDevice::allocate_zeroed_bytes(size_t bytes) {
  std::byte* data = allocate_host_zeroed(bytes);
  adopt_bytes(data, bytes);
  return data;
}

void HostDevice::free_bytes(std::byte* data, size_t) noexcept {
  forget_bytes(data);
  free_host(data);
}

void HostDevice::adopt_bytes(const std::byte* data, size_t bytes) { allocations_.add(data, bytes); }

void HostDevice::forget_bytes(const std::byte* data) noexcept { allocations_.remove(data); }

void HostStream::upload(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void HostStream::download(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

std::unique_ptr<Event> HostStream::record() { return std::make_unique<DoneEvent>(); }

}  // namespace tamis
