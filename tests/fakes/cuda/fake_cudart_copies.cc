// Copies and fills of the fake libcudart.

#include <cstring>
#include <vector>

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

enum class Kind { kDevice, kPinned, kPageable };

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kDevice:
      return "device";
    case Kind::kPinned:
      return "pinned";
    default:
      return "pageable";
  }
}

/// One end of a copy.
struct End {
  const void* p = nullptr;
  size_t bytes = 0;
  Kind kind = Kind::kPageable;
  Device* device = nullptr;

  bool on_host() const { return kind != Kind::kDevice; }
};

End end_of(const State& state, const void* p, size_t bytes) {
  if (Device* device = state.device_of(p)) return {p, bytes, Kind::kDevice, device};
  const bool pinned = state.pinned_block(p) != state.pinned.end();
  return {p, bytes, pinned ? Kind::kPinned : Kind::kPageable, nullptr};
}

/// "" or what is wrong with the memory of this end, for work of `device`.
std::string trouble_with(const State& state, const End& end, const Device& device) {
  const std::string range = std::to_string(end.bytes) + " bytes at " + hex(end.p);
  if (end.p == nullptr) return "null pointer";
  if (end.kind == Kind::kDevice) {
    if (end.device != &device) {
      return range + " are memory of device " + std::to_string(end.device->index) +
             ", the stream is of device " + std::to_string(device.index);
    }
    if (device.find(end.p, end.bytes) == device.allocations.end()) {
      return range + " are not inside a live allocation";
    }
  } else if (end.kind == Kind::kPinned) {
    const auto block = state.pinned_block(end.p);
    if (block == state.pinned.end()) return range + " are not pinned any more";
    const auto* at = static_cast<const std::byte*>(end.p);
    if (end.bytes > static_cast<size_t>(block->first + block->second - at)) {
      return range + " reach beyond their pinned memory";
    }
  }
  return "";
}

bool fits(cudaMemcpyKind kind, const End& dst, const End& src) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return dst.on_host() && src.on_host();
    case cudaMemcpyHostToDevice:
      return !dst.on_host() && src.on_host();
    case cudaMemcpyDeviceToHost:
      return dst.on_host() && !src.on_host();
    case cudaMemcpyDeviceToDevice:
      return !dst.on_host() && !src.on_host();
    default:
      return true;  // cudaMemcpyDefault: "inferred from the pointer values"
  }
}

bool overlap(const End& a, const End& b) {
  const auto* p = static_cast<const std::byte*>(a.p);
  const auto* q = static_cast<const std::byte*>(b.p);
  return p < q + b.bytes && q < p + a.bytes;
}

void count(FakeCounts& counts, const End& dst, const End& src) {
  if (!dst.on_host() && src.on_host()) {
    ++counts.h2d_copies;
    counts.h2d_bytes += dst.bytes;
  } else if (dst.on_host() && !src.on_host()) {
    ++counts.d2h_copies;
    counts.d2h_bytes += dst.bytes;
  } else if (!dst.on_host()) {
    ++counts.d2d_copies;
    counts.d2d_bytes += dst.bytes;
  }
}

Work copy_work(State& state, const End& dst, const End& src) {
  Work work;
  work.what = "copy of " + std::to_string(dst.bytes) + " bytes from " + name_of(src.kind) + " to " +
              name_of(dst.kind) + " memory";
  Device* device = dst.device != nullptr ? dst.device : src.device;
  work.admit = [&state, dst, src, device, what = work.what] {
    for (const End& end : {dst, src}) {
      // Host to host has no device; then only pinned memory can have gone.
      const std::string trouble =
          trouble_with(state, end, device != nullptr ? *device : *state.devices.front());
      if (trouble.empty()) continue;
      state.complaints.push_back(what + ", when it ran: " + trouble);
      return cudaErrorIllegalAddress;
    }
    count(state.counts, dst, src);
    return cudaSuccess;
  };
  void* to = const_cast<void*>(dst.p);
  if (src.kind == Kind::kPageable) {
    // The bytes as they are at the call, as if staged.
    const auto* from = static_cast<const std::byte*>(src.p);
    work.run = [to, staged = std::vector<std::byte>(from, from + src.bytes)] {
      std::memcpy(to, staged.data(), staged.size());
    };
  } else {
    work.run = [to, from = src.p, bytes = src.bytes] { std::memcpy(to, from, bytes); };
  }
  return work;
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t handle) {
  Call call("cudaMemcpyAsync", Call::kNone);
  State& state = call.state;
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) {
    return call.refuse(cudaErrorInvalidMemcpyDirection, "kind " + std::to_string(kind));
  }
  if (bytes == 0) return call.done();
  Device& device = *stream->device;
  const End dst = end_of(state, to, bytes), src = end_of(state, from, bytes);
  for (const End& end : {dst, src}) {
    const std::string trouble = trouble_with(state, end, device);
    if (trouble.empty()) continue;
    return call.refuse(cudaErrorInvalidValue,
                       std::string(&end == &dst ? "to: " : "from: ") + trouble);
  }
  if (!fits(kind, dst, src)) {
    return call.refuse(cudaErrorInvalidValue, std::string("the kind does not fit a copy from ") +
                                                  name_of(src.kind) + " to " + name_of(dst.kind) +
                                                  " memory");
  }
  if (overlap(dst, src)) return call.refuse(cudaErrorInvalidValue, "the areas overlap");

  const bool pageable = dst.kind == Kind::kPageable || src.kind == Kind::kPageable;
  if (pageable && stream->capture != nullptr) {
    // The call might wait for the stream, and a replay would not see the bytes of then.
    state.invalidate(*stream->capture);
    return call.refuse(cudaErrorStreamCaptureUnsupported, "pageable memory in a capture");
  }
  // "For transfers from any host memory to any host memory, the function is fully synchronous"
  const bool waits = dst.kind == Kind::kPageable || (dst.on_host() && src.on_host());
  if (const cudaError_t error = state.enqueue(*stream, copy_work(state, dst, src));
      error != cudaSuccess) {
    return call.refuse(error, "not possible in or beside this capture");
  }
  if (!waits || stream->capture != nullptr) return call.done();
  const std::shared_ptr<Mark> mark = state.push_mark(*stream);
  return call.done(state.run_until(call.lock, device, [mark] { return mark->done; }));
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t handle) {
  Call call("cudaMemsetAsync", Call::kNone);
  State& state = call.state;
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  if (bytes == 0) return call.done();
  Device& device = *stream->device;
  const End end = end_of(state, p, bytes);
  if (end.kind == Kind::kPageable) {
    return call.refuse(cudaErrorInvalidValue, hex(p) + " is not device memory");
  }
  if (const std::string trouble = trouble_with(state, end, device); !trouble.empty()) {
    return call.refuse(cudaErrorInvalidValue, trouble);
  }
  Work work;
  work.what = "fill of " + std::to_string(bytes) + " bytes";
  work.admit = [&state, &device, end, what = work.what] {
    const std::string trouble = trouble_with(state, end, device);
    if (trouble.empty()) return cudaSuccess;
    state.complaints.push_back(what + ", when it ran: " + trouble);
    return cudaErrorIllegalAddress;
  };
  work.run = [p, value, bytes] { std::memset(p, value, bytes); };
  const cudaError_t error = state.enqueue(*stream, std::move(work));
  if (error != cudaSuccess) return call.refuse(error, "not possible in or beside this capture");
  return call.done();
}

}  // extern "C"
