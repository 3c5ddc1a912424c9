#include "backend/cuda/cuda_runtime.h"

#include <thread>

#include "base/fail.h"

namespace tamis::cuda {

void check(const Card& card, const char* call, cudaError_t error) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // or the next call, which may be fine, reports it again
  const bool memory = error == cudaErrorMemoryAllocation;
  fail(memory ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable, "{}: {}: {} ({}, CUDA {})",
       card.name, call, cudaGetErrorString(error), cudaGetErrorName(error),
       static_cast<int>(error));
}

void use(const Card& card) { check(card, "cudaSetDevice", cudaSetDevice(card.index)); }

OwnedStream make_stream(const Card& card) {
  cudaStream_t stream = nullptr;
  // Not blocking: work of the default stream, which others in the process may use, is none of ours.
  check(card, "cudaStreamCreate", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return OwnedStream(stream);
}

OwnedEvent make_event(const Card& card) {
  cudaEvent_t event = nullptr;
  check(card, "cudaEventCreate", cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return OwnedEvent(event);
}

PinnedBytes make_pinned(const Card& card, size_t bytes) {
  void* data = nullptr;
  check(card, "cudaMallocHost", cudaMallocHost(&data, bytes));
  return PinnedBytes(static_cast<std::byte*>(data));
}

namespace detail {

void pause(std::chrono::steady_clock::time_point since) {
  using std::chrono::microseconds;
  if (std::chrono::steady_clock::now() - since < microseconds(500)) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(microseconds(50));
  }
}

void time_out(const Card& card, std::chrono::milliseconds timeout) {
  fail(ErrorCode::kUnavailable, "{}: the work did not end within {} ms", card.name,
       timeout.count());
}

}  // namespace detail
}  // namespace tamis::cuda
