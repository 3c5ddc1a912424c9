#pragma once

// What the files of the self-check share.

#include <cstdio>
#include <cstdlib>

#include "fake_cudart.h"

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      for (const auto& text : fake_cuda()->complaints()) {                 \
        std::fprintf(stderr, "  complaint: %s\n", text.c_str());           \
      }                                                                    \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

/// The call succeeds.
#define OK(call) CHECK((call) == 0)

/// The call fails with this code, and something was written down.
#define REFUSED(code, call)                    \
  do {                                         \
    fake_cuda()->clear_complaints();           \
    CHECK((call) == (code));                   \
    CHECK(!fake_cuda()->complaints().empty()); \
    fake_cuda()->clear_complaints();           \
  } while (false)

namespace tamis::fakes {

/// A machine of so many small devices.
inline FakeSetup machine(int devices, uint64_t seed = 1) {
  FakeSetup setup;
  setup.devices.assign(static_cast<size_t>(devices), FakeDevice{});
  for (FakeDevice& device : setup.devices) device.memory_bytes = 8 << 20;
  setup.seed = seed;
  return setup;
}

template <typename T = float>
T* device_array(size_t n) {
  void* p = nullptr;
  OK(cudaMalloc(&p, n * sizeof(T)));
  return static_cast<T*>(p);
}

template <typename T = float>
T* pinned_array(size_t n) {
  void* p = nullptr;
  OK(cudaMallocHost(&p, n * sizeof(T)));
  return static_cast<T*>(p);
}

inline cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

inline cudaEvent_t new_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t event = nullptr;
  OK(cudaEventCreateWithFlags(&event, flags));
  return event;
}

struct ScaleArguments {
  float* p;
  size_t n;
  float by;
};

/// As scale<<<grid, block, shared, stream>>>(arguments), which multiplies n floats.
cudaError_t launch_scale(ScaleArguments arguments, cudaStream_t stream, dim3 grid = 1,
                         dim3 block = 32, size_t shared = 0);

void check_graphs();
void check_threads();
void check_cublaslt();

}  // namespace tamis::fakes
