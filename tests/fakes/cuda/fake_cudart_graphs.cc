// Captures and graphs of the fake libcudart. A graph keeps the order that streams and events gave
// its nodes and no more: each launch runs them in a random order that agrees with it.

#include <algorithm>

#include "fake_cudart_state.h"

namespace tamis::fakes {

void State::add_node(Stream& stream, Work work) {
  Graph& graph = *stream.capture->graph;
  graph.nodes.push_back(
      {std::make_shared<const Work>(std::move(work)), {stream.tail.begin(), stream.tail.end()}});
  stream.tail = {graph.nodes.size() - 1};
}

void State::invalidate(Capture& capture) {
  if (!capture.ended) capture.invalid = true;
}

bool State::unsafe_in_capture() {
  // The rule of cudaThreadExchangeStreamCaptureMode for a thread in its default mode.
  bool prohibited = false;
  for (const auto& capture : captures) {
    const bool own = capture->thread == std::this_thread::get_id();
    if (own ? capture->mode == cudaStreamCaptureModeRelaxed
            : capture->mode != cudaStreamCaptureModeGlobal) {
      continue;
    }
    invalidate(*capture);
    prohibited = true;
  }
  return prohibited;
}

void State::leave_capture(Capture& capture) {
  capture.ended = true;
  captures.erase(std::find_if(captures.begin(), captures.end(),
                              [&](const auto& c) { return c.get() == &capture; }));
  for (Stream* member : capture.members) {
    member->tail.clear();
    // May drop the last reference to `capture`, which the caller therefore holds.
    member->capture = nullptr;
  }
}

namespace {

/// Whether all that the other streams did comes before what the origin did last.
bool joined(const Capture& capture) {
  const std::vector<Graph::Node>& nodes = capture.graph->nodes;
  std::vector<bool> before(nodes.size(), false);
  for (const size_t node : capture.origin->tail) before[node] = true;
  for (size_t i = nodes.size(); i-- > 0;) {
    if (!before[i]) continue;
    for (const size_t earlier : nodes[i].after) before[earlier] = true;
  }
  return std::all_of(before.begin(), before.end(), [](bool b) { return b; });
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  Call call("cudaStreamBeginCapture", Call::kNone);
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  if (stream->legacy) {
    return call.refuse(cudaErrorInvalidValue, "the legacy stream cannot be captured");
  }
  if (mode != cudaStreamCaptureModeGlobal && mode != cudaStreamCaptureModeThreadLocal &&
      mode != cudaStreamCaptureModeRelaxed) {
    return call.refuse(cudaErrorInvalidValue, "unknown mode " + std::to_string(mode));
  }
  if (stream->capture != nullptr) {
    return call.refuse(cudaErrorInvalidValue, "the stream is already being captured");
  }
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->members = {stream};
  capture->graph = std::make_shared<Graph>();
  capture->graph->device = stream->device;
  stream->tail.clear();
  stream->capture = capture;
  call.state.captures.push_back(std::move(capture));
  return call.done();
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* result) {
  Call call("cudaStreamEndCapture", Call::kNone);
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  if (result == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr) {
    return call.refuse(cudaErrorInvalidValue, "the stream is not being captured");
  }
  if (capture->origin != stream) {
    call.state.invalidate(*capture);
    return call.refuse(cudaErrorStreamCaptureUnmatched, "the capture began in another stream");
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed &&
      capture->thread != std::this_thread::get_id()) {
    return call.refuse(cudaErrorStreamCaptureWrongThread, "the capture began in another thread");
  }
  *result = nullptr;  // "a NULL graph will be returned"
  const bool whole = joined(*capture);
  call.state.leave_capture(*capture);
  if (capture->invalid) {
    return call.refuse(cudaErrorStreamCaptureInvalidated, "a call before has spoilt the capture");
  }
  if (!whole) {
    return call.refuse(cudaErrorStreamCaptureUnjoined,
                       "work of another stream was not joined to the stream that began");
  }
  const Handle made = call.state.next_handle++;
  call.state.graphs[made] = capture->graph;
  *result = reinterpret_cast<cudaGraph_t>(made);
  return call.done();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* result, cudaGraph_t graph,
                                 unsigned long long flags) {
  Call call("cudaGraphInstantiate");
  if (call.failed()) return call.error();
  if (result == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  const auto known = call.state.graphs.find(reinterpret_cast<Handle>(graph));
  if (known == call.state.graphs.end()) {
    return call.refuse(cudaErrorInvalidValue, "not a live graph: " + hex(graph));
  }
  // Neither allocations nor priorities are captured here, so these two change nothing.
  constexpr unsigned long long harmless =
      cudaGraphInstantiateFlagAutoFreeOnLaunch | cudaGraphInstantiateFlagUseNodePriority;
  if ((flags & ~harmless) != 0) {
    return call.refuse(cudaErrorInvalidValue, "flags the fake does not know");
  }
  auto exec = std::make_unique<GraphExec>();
  exec->graph = known->second;
  const Handle made = call.state.next_handle++;
  call.state.graph_execs[made] = std::move(exec);
  *result = reinterpret_cast<cudaGraphExec_t>(made);
  return call.done();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  Call call("cudaGraphLaunch", Call::kNone);
  State& state = call.state;
  Stream* stream = call.stream(stream_handle);
  if (stream == nullptr) return call.error();
  const auto known = state.graph_execs.find(reinterpret_cast<Handle>(handle));
  if (known == state.graph_execs.end()) {
    return call.refuse(cudaErrorInvalidValue, "not a live executable graph: " + hex(handle));
  }
  GraphExec& exec = *known->second;
  if (stream->device != exec.graph->device) {
    return call.refuse(cudaErrorInvalidValue, "the graph was captured on another device");
  }
  if (stream->capture != nullptr) {
    state.invalidate(*stream->capture);
    return call.refuse(cudaErrorStreamCaptureUnsupported, "the fake has no child graphs");
  }
  if (const cudaError_t error = state.admit_command(*stream); error != cudaSuccess) {
    return call.refuse(error, "not possible in or beside this capture");
  }
  ++state.counts.graph_launches;
  // "ordered behind [...] any previous launches of graphExec"
  if (exec.last != nullptr && !exec.last->done) {
    state.push(*stream, {.work = {}, .sets = {}, .waits = exec.last, .graph = {}});
  }
  state.push(
      *stream,
      {.work = {}, .sets = {}, .waits = {}, .graph = std::make_shared<GraphRun>(exec.graph)});
  exec.last = state.push_mark(*stream);
  return call.done();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  Call call("cudaGraphExecDestroy", Call::kNone);
  if (call.state.graph_execs.erase(reinterpret_cast<Handle>(handle)) == 0) {
    return call.refuse(cudaErrorInvalidValue, "not a live executable graph: " + hex(handle));
  }
  call.device();
  return call.error();
}

cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  Call call("cudaGraphDestroy", Call::kNone);
  if (call.state.graphs.erase(reinterpret_cast<Handle>(handle)) == 0) {
    return call.refuse(cudaErrorInvalidValue, "not a live graph: " + hex(handle));
  }
  call.device();
  return call.error();
}

}  // extern "C"
