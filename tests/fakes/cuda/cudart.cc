// The functions of libcudart.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "fake_cuda.h"

namespace tamis::fakes {

std::byte* allocate(Card& card, size_t bytes);
void release(Card& card, std::byte* data);

namespace {

thread_local int current_card = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

/// Counts the call; a card that has failed answers every call with its error.
class Call {
 public:
  explicit Call(const char* name) : lock_(state().mutex) {
    ++state().calls[name];
    name_ = name;
  }
  Card* card() const {
    const auto i = static_cast<size_t>(current_card);
    return i < state().cards.size() ? state().cards[i].get() : nullptr;
  }
  cudaError_t ready() const {
    if (state().driver != cudaSuccess) return state().driver;
    if (card() == nullptr) return cudaErrorNoDevice;
    return card()->broken;
  }
  /// As ready; not while the thread's card records a graph.
  cudaError_t ready_to_wait() const {
    if (const cudaError_t error = ready()) return error;
    for (const FakeStream* s : card()->streams) {
      if (s->capture == nullptr) continue;
      complain(std::string(name_) + " while a stream records a graph");
      return cudaErrorStreamCaptureUnsupported;
    }
    return cudaSuccess;
  }
  cudaError_t wrong(const std::string& text, cudaError_t error = cudaErrorInvalidValue) const {
    complain(std::string(name_) + ": " + text);
    return remember(error);
  }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
  const char* name_;
};

bool allocation_fails() {
  FakeCuda& f = state();
  if (f.fail_allocation == 0) return false;
  if (f.fail_allocation > 1) return --f.fail_allocation, false;
  if (!f.fail_allocations_after) f.fail_allocation = 0;
  return true;
}

/// Some commands of the card, perhaps none: time passes between two questions.
void pass_time(Card& card) {
  if (state().random() % card.slow != 0) return;
  for (auto n = state().random() % 4; n > 0; --n) step(card);
}

const Card* card_with(const void* p) {
  for (const auto& card : state().cards) {
    const auto* at = static_cast<const std::byte*>(p);
    if (card->region != nullptr && at >= card->region && at < card->region + card->region_bytes) {
      return card.get();
    }
  }
  return nullptr;
}

bool is_pinned(const void* p) {
  for (const auto& [data, bytes] : state().pinned_bytes) {
    const auto* at = static_cast<const std::byte*>(p);
    if (at >= data && at < data + bytes) return true;
  }
  return false;
}

/// Until nothing of the stream is left.
cudaError_t finish(Card& card, const FakeStream& stream) {
  while (!stream.queue.empty()) {
    if (step(card)) continue;
    if (card.broken != cudaSuccess) return card.broken;
    complain("a stream waits for an event that never comes");
    return cudaErrorLaunchTimeout;
  }
  return card.broken;
}

Command launch_command(const std::string& name, const Twin& twin, dim3 grid, dim3 block,
                       void** arguments) {
  // What CUDA promises: the arguments are read before the call returns.
  const auto* from = static_cast<const std::byte*>(arguments[0]);
  std::vector<std::byte> copy(from, from + twin.argument_bytes);
  return {name,
          [name, twin, grid, block, copy = std::move(copy)] {
            ++state().launches[name];
            twin.run(copy.data(), grid, block);
          },
          nullptr};
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  const Call call("cudaGetDeviceCount");
  *count = 0;
  if (state().driver != cudaSuccess) return remember(state().driver);
  if (state().cards.empty()) return remember(cudaErrorNoDevice);
  *count = static_cast<int>(state().cards.size());
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const Call call("cudaDriverGetVersion");
  *version = state().driver == cudaErrorInsufficientDriver ? 12040
             : state().driver != cudaSuccess               ? 0
                                                           : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  const Call call("cudaSetDevice");
  if (device < 0 || device >= static_cast<int>(state().cards.size())) {
    return remember(cudaErrorInvalidDevice);
  }
  current_card = device;
  return remember(call.ready());
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Call call("cudaGetDeviceProperties");
  if (device < 0 || device >= static_cast<int>(state().cards.size())) {
    return remember(cudaErrorInvalidDevice);
  }
  *properties = {};
  const Card& card = *state().cards[static_cast<size_t>(device)];
  std::strncpy(properties->name, card.name.c_str(), sizeof properties->name - 1);
  properties->totalGlobalMem = card.memory;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const Call call("cudaDeviceGetAttribute");
  if (device < 0 || device >= static_cast<int>(state().cards.size())) {
    return remember(cudaErrorInvalidDevice);
  }
  const Card& card = *state().cards[static_cast<size_t>(device)];
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = card.capability / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = card.capability % 10;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      return cudaSuccess;
    default:
      return call.wrong("the fake does not know attribute " + std::to_string(attribute));
  }
}

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  const Call call("cudaMemGetInfo");
  if (const cudaError_t error = call.ready()) return remember(error);
  *total = call.card()->memory;
  *available = call.card()->memory - call.card()->used;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const Call call("cudaMalloc");
  *data = nullptr;
  if (const cudaError_t error = call.ready_to_wait()) return remember(error);
  if (bytes == 0) return cudaSuccess;
  if (!allocation_fails()) *data = allocate(*call.card(), bytes);
  return remember(*data != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* data) {
  const Call call("cudaFree");
  if (data == nullptr) return cudaSuccess;
  for (const auto& card : state().cards) {
    const auto it = card->allocations.find(static_cast<std::byte*>(data));
    if (it == card->allocations.end()) continue;
    // Work that is queued may use the memory: the documentation lets cudaFree wait for all of it.
    while (step(*card)) {
    }
    release(*card, it->first);
    return remember(card->broken);
  }
  return call.wrong("not an address that cudaMalloc gave");
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  const Call call("cudaMallocHost");
  *data = nullptr;
  if (const cudaError_t error = call.ready_to_wait()) return remember(error);
  if (allocation_fails()) return remember(cudaErrorMemoryAllocation);
  *data = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  std::memset(*data, 0xFF, bytes);
  state().pinned.insert(static_cast<std::byte*>(*data));
  state().pinned_bytes[static_cast<std::byte*>(*data)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* data) {
  const Call call("cudaFreeHost");
  if (state().pinned.erase(static_cast<std::byte*>(data)) == 0) {
    return call.wrong("not an address that cudaMallocHost gave");
  }
  state().pinned_bytes.erase(static_cast<std::byte*>(data));
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Call call("cudaStreamCreateWithFlags");
  if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking) return call.wrong("flags");
  if (const cudaError_t error = call.ready()) return remember(error);
  auto* s = new FakeStream;
  s->card = call.card();
  s->card->streams.insert(s);
  *stream = reinterpret_cast<cudaStream_t>(s);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Call call("cudaStreamDestroy");
  Card* card = card_of(stream);
  if (card == nullptr) return call.wrong("no such stream", cudaErrorInvalidResourceHandle);
  auto* s = reinterpret_cast<FakeStream*>(stream);
  finish(*card, *s);  // what is queued is still done
  card->streams.erase(s);
  delete s;
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Call call("cudaStreamQuery");
  Card* card = card_of(stream);
  if (card == nullptr) return call.wrong("no such stream", cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = call.ready_to_wait()) return remember(error);
  pass_time(*card);
  if (card->broken != cudaSuccess) return remember(card->broken);
  return reinterpret_cast<FakeStream*>(stream)->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Call call("cudaStreamWaitEvent");
  auto* e = reinterpret_cast<FakeEvent*>(event);
  if (state().events.count(e) == 0) return call.wrong("no such event");
  if (!e->mark) return cudaSuccess;
  return remember(enqueue(stream, {"wait", [] {}, e->mark}));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Call call("cudaMemcpyAsync");
  Card* card = card_of(stream);
  if (card == nullptr) return call.wrong("no such stream", cudaErrorInvalidResourceHandle);
  if (card->broken != cudaSuccess) return remember(card->broken);
  const bool up = kind == cudaMemcpyHostToDevice;
  if (!up && kind != cudaMemcpyDeviceToHost) return call.wrong("the fake copies up and down only");
  const void *device = up ? to : from, *host = up ? from : to;
  if (card_with(host) != nullptr) return call.wrong("the host's side is memory of a card");
  if (!owns(*card, device, bytes)) return call.wrong("outside of an allocation of the card");
  ++(up ? state().uploads : state().downloads);
  if (is_pinned(host)) {
    return remember(enqueue(stream, {"copy", [=] { std::memcpy(to, from, bytes); }, nullptr}));
  }
  if (up) {
    std::vector<std::byte> staged(bytes);
    std::memcpy(staged.data(), host, bytes);
    return remember(enqueue(stream, {"copy",
                                     [to, staged = std::move(staged)] {
                                       std::memcpy(to, staged.data(), staged.size());
                                     },
                                     nullptr}));
  }
  auto* s = reinterpret_cast<FakeStream*>(stream);
  if (s->capture != nullptr) {
    return call.wrong("to pageable memory while recording", cudaErrorStreamCaptureUnsupported);
  }
  if (const cudaError_t error =
          enqueue(stream, {"copy", [=] { std::memcpy(to, from, bytes); }, nullptr})) {
    return remember(error);
  }
  return remember(finish(*card, *s));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Call call("cudaEventCreateWithFlags");
  if (flags != cudaEventDisableTiming) return call.wrong("the fake has no timing");
  if (const cudaError_t error = call.ready()) return remember(error);
  auto* e = new FakeEvent;
  e->card = call.card();
  state().events.insert(e);
  *event = reinterpret_cast<cudaEvent_t>(e);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Call call("cudaEventDestroy");
  auto* e = reinterpret_cast<FakeEvent*>(event);
  if (state().events.erase(e) == 0) return call.wrong("no such event");
  delete e;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Call call("cudaEventRecord");
  auto* e = reinterpret_cast<FakeEvent*>(event);
  if (state().events.count(e) == 0) return call.wrong("no such event");
  Card* card = card_of(stream);
  if (card == nullptr) return call.wrong("no such stream", cudaErrorInvalidResourceHandle);
  if (e->card != card) return call.wrong("the event is of another card");
  if (reinterpret_cast<FakeStream*>(stream)->capture != nullptr) {
    return call.wrong("the fake does not record events in graphs");
  }
  e->mark = std::make_shared<Mark>();
  return remember(enqueue(stream, {"event", [mark = e->mark] { mark->done = true; }, nullptr}));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Call call("cudaEventQuery");
  auto* e = reinterpret_cast<FakeEvent*>(event);
  if (state().events.count(e) == 0) return call.wrong("no such event");
  if (e->card->broken != cudaSuccess) return remember(e->card->broken);
  pass_time(*e->card);
  if (e->card->broken != cudaSuccess) return remember(e->card->broken);
  return !e->mark || e->mark->done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    default:
      return "an error of the fake";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t stream) {
  const Call call("cudaLaunchKernel");
  const auto known = state().kernels.find(function);
  if (known == state().kernels.end()) {
    return call.wrong("a function that nvcc did not register", cudaErrorInvalidDeviceFunction);
  }
  const std::string& name = known->second;
  const auto twin = state().twins.find(name);
  if (twin == state().twins.end()) return call.wrong(name + " has no twin");
  const unsigned threads = block.x * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0 || threads > 1024 ||
      grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535 || block.z > 64 ||
      shared_bytes > 48 * 1024) {
    return call.wrong(name + " with an impossible grid or block", cudaErrorInvalidConfiguration);
  }
  if (!state().compute) return remember(enqueue(stream, {}));
  return remember(enqueue(stream, launch_command(name, twin->second, grid, block, arguments)));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Call call("cudaStreamBeginCapture");
  if (card_of(stream) == nullptr) return call.wrong("no such stream");
  auto* s = reinterpret_cast<FakeStream*>(stream);
  if (s->capture != nullptr) return call.wrong("records already", cudaErrorIllegalState);
  s->capture = new std::vector<Command>;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Call call("cudaStreamEndCapture");
  *graph = nullptr;
  if (card_of(stream) == nullptr) return call.wrong("no such stream");
  auto* s = reinterpret_cast<FakeStream*>(stream);
  if (s->capture == nullptr) return call.wrong("nothing was recorded", cudaErrorIllegalState);
  *graph = reinterpret_cast<cudaGraph_t>(std::exchange(s->capture, nullptr));
  state().graphs.insert(*graph);
  return remember(call.ready());
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned long long) {
  const Call call("cudaGraphInstantiate");
  if (state().graphs.count(graph) == 0) return call.wrong("no such graph");
  *out = reinterpret_cast<cudaGraphExec_t>(
      new std::vector<Command>(*reinterpret_cast<std::vector<Command>*>(graph)));
  state().graph_execs.insert(*out);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  const Call call("cudaGraphLaunch");
  if (state().graph_execs.count(graph) == 0) return call.wrong("no such graph");
  ++state().graph_launches;
  for (const Command& command : *reinterpret_cast<std::vector<Command>*>(graph)) {
    if (const cudaError_t error = enqueue(stream, command)) return remember(error);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Call call("cudaGraphDestroy");
  if (state().graphs.erase(graph) == 0) return call.wrong("no such graph");
  delete reinterpret_cast<std::vector<Command>*>(graph);
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  const Call call("cudaGraphExecDestroy");
  if (state().graph_execs.erase(graph) == 0) return call.wrong("no such graph");
  delete reinterpret_cast<std::vector<Command>*>(graph);
  return cudaSuccess;
}

// What nvcc's objects call when they are loaded, and the stubs that it leaves for <<<>>>.

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host_function, char*, const char* name, int, void*,
                            void*, void*, void*, int*) {
  const std::lock_guard lock(state().mutex);
  state().kernels[host_function] = name;
}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, void*) { return 1; }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) {
  return cudaErrorNotSupported;
}
cudaError_t __cudaGetKernel(void**, const void*) { return cudaErrorNotSupported; }
cudaError_t __cudaLaunchKernel(void*, dim3, dim3, void**, size_t, cudaStream_t) {
  return cudaErrorNotSupported;
}

}  // extern "C"
