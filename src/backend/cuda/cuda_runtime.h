#pragma once

// CUDA's runtime with errors as exceptions and resources as objects. All calls name the device they
// mean: CUDA's own current device is one for each thread, and our callers' threads vary.

#include <cuda_runtime_api.h>

#include <chrono>
#include <memory>
#include <string>
#include <type_traits>

namespace tamis::cuda {

/// What the parts of one card's backend share.
struct Card {
  int index = 0;       ///< as CUDA counts
  std::string name;    ///< "cuda:0"
  int capability = 0;  ///< 10 × major + minor: 75, 80, 90
  bool graphs = false;
  bool plain_attention = false;
  std::string nccl;  ///< the library
};

/// Throws what a failed call means: resource_exhausted (no memory), else unavailable. CUDA reports
/// the failure of earlier work by any later call, so `call` is where it was noticed.
void check(const Card& card, const char* call, cudaError_t error);

/// Makes the card this thread's current one.
void use(const Card& card);

struct StreamDeleter {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
struct EventDeleter {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
struct GraphDeleter {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
struct GraphExecDeleter {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
struct PinnedDeleter {
  void operator()(std::byte* data) const { cudaFreeHost(data); }
};
template <class Handle, class Deleter>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Deleter>;
using OwnedStream = Owned<cudaStream_t, StreamDeleter>;
using OwnedEvent = Owned<cudaEvent_t, EventDeleter>;
using OwnedGraph = Owned<cudaGraph_t, GraphDeleter>;
using OwnedGraphExec = Owned<cudaGraphExec_t, GraphExecDeleter>;
using PinnedBytes = std::unique_ptr<std::byte, PinnedDeleter>;

OwnedStream make_stream(const Card& card);
OwnedEvent make_event(const Card& card);
PinnedBytes make_pinned(const Card& card, size_t bytes);

/// Waits until `query` (cudaStreamQuery or cudaEventQuery of something) says that the work is done.
/// Polled, since CUDA's own waiting has no time limit. Errors: unavailable (the timeout, or the
/// work failed).
template <class Query>
void wait_for(const Card& card, const Query& query, std::chrono::milliseconds timeout);

/// One launch: the kernel takes one struct.
template <class Args>
void launch(const Card& card, const char* name, void (*kernel)(Args), dim3 grid, int threads,
            cudaStream_t stream, const std::type_identity_t<Args>& args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  void* pointers[] = {const_cast<Args*>(&args)};
  check(card, name,
        cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid,
                         dim3(static_cast<unsigned>(threads)), pointers, 0, stream));
}

namespace detail {
/// Between two queries: at first only a yield, for work that takes microseconds.
void pause(std::chrono::steady_clock::time_point since);
[[noreturn]] void time_out(const Card& card, std::chrono::milliseconds timeout);
}  // namespace detail

template <class Query>
void wait_for(const Card& card, const Query& query, std::chrono::milliseconds timeout) {
  const auto begin = std::chrono::steady_clock::now();
  for (cudaError_t state = query(); state != cudaSuccess; state = query()) {
    if (state != cudaErrorNotReady) check(card, "waiting for the work", state);
    if (std::chrono::steady_clock::now() - begin > timeout) detail::time_out(card, timeout);
    detail::pause(begin);
  }
}

}  // namespace tamis::cuda
