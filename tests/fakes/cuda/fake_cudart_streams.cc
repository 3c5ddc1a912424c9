// Streams and events of the fake libcudart.

#include <algorithm>

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

std::shared_ptr<Stream> shared(const Stream& stream) {
  const auto& all = stream.device->streams;
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.get() == &stream; });
  return found == all.end() ? nullptr : *found;
}

/// What a wait for the stream waits for: itself, and what the legacy stream takes along.
std::function<bool()> idle(Stream& stream) {
  if (!stream.legacy) return [kept = shared(stream)] { return kept == nullptr || kept->idle(); };
  return [device = stream.device] {
    return std::all_of(device->streams.begin(), device->streams.end(),
                       [](const auto& s) { return !s->blocking || s->idle(); });
  };
}

/// Refuses to wait for a stream that is captured. True if it was refused.
bool refuse_captured(Call& call, Stream& stream) {
  if (stream.capture != nullptr) {
    call.state.invalidate(*stream.capture);
    call.refuse(cudaErrorStreamCaptureUnsupported, "the stream is being captured");
    return true;
  }
  if (const cudaError_t error = call.state.admit_command(stream); error != cudaSuccess) {
    call.refuse(error, "the legacy stream depends on a stream that is being captured");
    return true;
  }
  return call.unsafe();
}

bool refuse_captured(Call& call, const Event& event) {
  if (event.capture != nullptr) {
    call.state.invalidate(*event.capture);
    call.refuse(cudaErrorCapturedEvent, "the event was last recorded in a capture");
    return true;
  }
  return call.unsafe();
}

bool complete(const Event& event) { return event.mark == nullptr || event.mark->done; }

/// cudaStreamWaitEvent where the stream or the event belongs to a capture.
cudaError_t wait_in_capture(Call& call, Stream& stream, const Event& event) {
  State& state = call.state;
  const auto isolate = [&](const std::string& why) {
    if (stream.capture != nullptr) state.invalidate(*stream.capture);
    if (event.capture != nullptr) state.invalidate(*event.capture);
    return call.refuse(cudaErrorStreamCaptureIsolation, why);
  };
  if (event.capture == nullptr) {
    return isolate("a captured stream waits for an event from outside of the capture");
  }
  if (event.capture->ended) {
    if (stream.capture != nullptr) state.invalidate(*stream.capture);
    return call.refuse(cudaErrorCapturedEvent,
                       "the event was recorded in a capture that has ended");
  }
  if (stream.capture != nullptr && stream.capture != event.capture) {
    state.invalidate(*stream.capture);
    state.invalidate(*event.capture);
    return call.refuse(cudaErrorStreamCaptureMerge, "stream and event are of two captures");
  }
  if (event.capture->invalid) return call.done(cudaErrorStreamCaptureInvalidated);
  if (stream.capture == nullptr) {
    if (stream.legacy) return isolate("the legacy stream cannot join a capture");
    if (stream.device != event.device) {
      state.invalidate(*event.capture);
      return call.refuse(cudaErrorNotSupported, "the fake captures one device at a time");
    }
    stream.capture = event.capture;
    stream.capture->members.push_back(&stream);
    stream.tail.clear();
  }
  stream.tail.insert(event.nodes.begin(), event.nodes.end());
  return call.done();
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  Call call("cudaStreamCreateWithFlags");
  if (call.failed()) return call.error();
  if (handle == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking) {
    return call.refuse(cudaErrorInvalidValue, "unknown flags " + std::to_string(flags));
  }
  auto stream = std::make_shared<Stream>();
  stream->device = call.device();
  stream->blocking = flags == cudaStreamDefault;
  stream->device->streams.push_back(stream);
  const Handle made = call.state.next_handle++;
  call.state.streams[made] = std::move(stream);
  *handle = reinterpret_cast<cudaStream_t>(made);
  return call.done();
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  Call call("cudaStreamDestroy", Call::kNone);
  State& state = call.state;
  const auto known = state.streams.find(reinterpret_cast<Handle>(handle));
  if (known == state.streams.end()) {
    return call.refuse(cudaErrorInvalidResourceHandle, "not a live stream: " + hex(handle));
  }
  const std::shared_ptr<Stream> stream = known->second;
  if (stream->capture != nullptr) {
    state.invalidate(*stream->capture);
    return call.refuse(cudaErrorStreamCaptureUnsupported, "the stream is being captured");
  }
  // "the resources [...] will be released once the device has completed all work"
  stream->destroyed = true;
  state.streams.erase(known);
  return call.done(stream->device->broken);
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Call call("cudaStreamQuery", Call::kNone);
  Stream* stream = call.stream(handle);
  if (stream == nullptr || refuse_captured(call, *stream)) return call.error();
  Device& device = *stream->device;
  const std::function<bool()> done = idle(*stream);
  call.state.run_a_few(call.lock, device, done);
  if (device.broken != cudaSuccess) return call.done(device.broken);
  return call.done(done() ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  Call call("cudaStreamSynchronize", Call::kNone);
  Stream* stream = call.stream(handle);
  if (stream == nullptr || refuse_captured(call, *stream)) return call.error();
  return call.done(call.state.run_until(call.lock, *stream->device, idle(*stream)));
}

cudaError_t cudaDeviceSynchronize() {
  Call call("cudaDeviceSynchronize");
  if (call.failed()) return call.error();
  Device* device = call.device();
  for (const auto& stream : device->streams) {
    if (stream->capture != nullptr && refuse_captured(call, *stream)) return call.error();
  }
  if (call.unsafe()) return call.error();
  return call.done(call.state.run_until(call.lock, *device, [device] {
    return std::all_of(device->streams.begin(), device->streams.end(),
                       [](const auto& s) { return s->idle(); });
  }));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned flags) {
  Call call("cudaStreamWaitEvent", Call::kNone);
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  Event* event = call.event(event_handle);
  if (event == nullptr) return call.error();
  if (flags == cudaEventWaitExternal) {
    return call.refuse(cudaErrorNotSupported, "the fake has no external event nodes");
  }
  if (flags != cudaEventWaitDefault) {
    return call.refuse(cudaErrorInvalidValue, "unknown flags " + std::to_string(flags));
  }
  if (const cudaError_t error = call.state.admit_command(*stream); error != cudaSuccess) {
    return call.refuse(error, "not possible in or beside this capture");
  }
  if (stream->capture != nullptr || event->capture != nullptr) {
    return wait_in_capture(call, *stream, *event);
  }
  // The most recently recorded state at this time; later records do not count.
  if (!complete(*event)) {
    call.state.push(*stream, {.work = {}, .sets = {}, .waits = event->mark, .graph = {}});
  }
  return call.done();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned flags) {
  Call call("cudaEventCreateWithFlags");
  if (call.failed()) return call.error();
  if (handle == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  constexpr unsigned known = cudaEventBlockingSync | cudaEventDisableTiming | cudaEventInterprocess;
  if ((flags & ~known) != 0) {
    return call.refuse(cudaErrorInvalidValue, "unknown flags " + std::to_string(flags));
  }
  if ((flags & cudaEventInterprocess) != 0 && (flags & cudaEventDisableTiming) == 0) {
    return call.refuse(cudaErrorInvalidValue, "interprocess events need cudaEventDisableTiming");
  }
  auto event = std::make_unique<Event>();
  event->device = call.device();
  event->flags = flags;
  const Handle made = call.state.next_handle++;
  call.state.events[made] = std::move(event);
  *handle = reinterpret_cast<cudaEvent_t>(made);
  return call.done();
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  Call call("cudaEventDestroy", Call::kNone);
  const auto known = call.state.events.find(reinterpret_cast<Handle>(handle));
  if (known == call.state.events.end()) {
    return call.refuse(cudaErrorInvalidResourceHandle, "not a live event: " + hex(handle));
  }
  const cudaError_t broken = known->second->device->broken;
  call.state.events.erase(known);  // its mark lives on where it is waited for
  return call.done(broken);
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  Call call("cudaEventRecord", Call::kNone);
  Stream* stream = call.stream(stream_handle);
  if (stream == nullptr) return call.error();
  Event* event = call.event(handle);
  if (event == nullptr) return call.error();
  if (stream->device != event->device) {
    return call.refuse(cudaErrorInvalidResourceHandle, "event and stream are of two devices");
  }
  if (const cudaError_t error = call.state.admit_command(*stream); error != cudaSuccess) {
    return call.refuse(error, "not possible in or beside this capture");
  }
  if (stream->capture != nullptr) {
    event->capture = stream->capture;
    event->nodes = stream->tail;
    return call.done();
  }
  auto mark = std::make_shared<Mark>();
  mark->device = stream->device;
  call.state.push(*stream, {.work = {}, .sets = mark, .waits = {}, .graph = {}});
  event->mark = std::move(mark);
  event->capture = nullptr;
  return call.done();
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  Call call("cudaEventQuery", Call::kNone);
  Event* event = call.event(handle);
  if (event == nullptr || refuse_captured(call, *event)) return call.error();
  const std::shared_ptr<Mark> mark = event->mark;
  if (mark == nullptr) return call.done();
  call.state.run_a_few(call.lock, *mark->device, [mark] { return mark->done; });
  if (mark->device->broken != cudaSuccess) return call.done(mark->device->broken);
  return call.done(mark->done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  Call call("cudaEventSynchronize", Call::kNone);
  Event* event = call.event(handle);
  if (event == nullptr || refuse_captured(call, *event)) return call.error();
  const std::shared_ptr<Mark> mark = event->mark;
  if (mark == nullptr) return call.done();
  return call.done(call.state.run_until(call.lock, *mark->device, [mark] { return mark->done; }));
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start_handle, cudaEvent_t end_handle) {
  Call call("cudaEventElapsedTime", Call::kNone);
  Event* start = call.event(start_handle);
  if (start == nullptr) return call.error();
  Event* end = call.event(end_handle);
  if (end == nullptr) return call.error();
  if (ms == nullptr) return call.refuse(cudaErrorInvalidValue, "null pointer to the result");
  for (const Event* event : {start, end}) {
    if ((event->flags & cudaEventDisableTiming) != 0) {
      return call.refuse(cudaErrorInvalidResourceHandle, "an event was made without timing");
    }
    if (event->capture != nullptr) {
      return call.refuse(cudaErrorCapturedEvent, "an event was last recorded in a capture");
    }
    if (event->mark == nullptr) {
      return call.refuse(cudaErrorInvalidResourceHandle, "an event was never recorded");
    }
  }
  if (start->device != end->device) {
    return call.refuse(cudaErrorInvalidResourceHandle, "the events are of two devices");
  }
  if (!complete(*start) || !complete(*end)) return call.done(cudaErrorNotReady);
  *ms = static_cast<float>(end->mark->at_ms - start->mark->at_ms);
  return call.done();
}

}  // extern "C"
