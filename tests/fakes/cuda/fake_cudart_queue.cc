// The queues of the fake libcudart: what is pushed, what runs next, what a fault does.

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

/// The device whose command the calling thread runs, and whether fake_cuda_operand found a fault.
thread_local Device* running_device = nullptr;
thread_local bool operand_fault = false;

}  // namespace

GraphRun::GraphRun(std::shared_ptr<const Graph> of)
    : graph(std::move(of)), missing(graph->nodes.size()), left(graph->nodes.size()) {
  for (size_t i = 0; i < left; ++i) {
    missing[i] = graph->nodes[i].after.size();
    if (missing[i] == 0) ready.push_back(i);
  }
}

size_t GraphRun::take(uint64_t random) {
  const auto at = ready.begin() + static_cast<std::ptrdiff_t>(random % ready.size());
  const size_t node = *at;
  ready.erase(at);
  return node;
}

void GraphRun::finish(size_t node) {
  --left;
  for (size_t i = node + 1; i < graph->nodes.size(); ++i) {
    const std::vector<size_t>& after = graph->nodes[i].after;
    if (std::find(after.begin(), after.end(), node) != after.end() && --missing[i] == 0) {
      ready.push_back(i);
    }
  }
}

// --- Pushing.

cudaError_t State::admit_command(Stream& stream) {
  if (stream.legacy) {
    // The legacy stream would wait for the blocking streams, one of which is being captured.
    for (const auto& other : stream.device->streams) {
      if (!other->blocking || other->capture == nullptr) continue;
      invalidate(*other->capture);
      return cudaErrorStreamCaptureImplicit;
    }
  }
  if (stream.capture != nullptr && stream.capture->invalid)
    return cudaErrorStreamCaptureInvalidated;
  return cudaSuccess;
}

std::shared_ptr<Mark> State::push_mark(Stream& stream) {
  auto mark = std::make_shared<Mark>();
  mark->device = stream.device;
  stream.queue.push_back({.work = {}, .sets = mark, .waits = {}, .graph = {}});
  return mark;
}

void State::push(Stream& stream, Command command) {
  // The legacy stream and the blocking ones wait for each other.
  const auto wait_for = [&](Stream& other) {
    if (!other.idle()) {
      stream.queue.push_back({.work = {}, .sets = {}, .waits = push_mark(other), .graph = {}});
    }
  };
  if (stream.legacy) {
    for (const auto& other : stream.device->streams) {
      if (other.get() != &stream && other->blocking) wait_for(*other);
    }
  } else if (stream.blocking) {
    wait_for(*stream.device->streams.front());
  }
  stream.queue.push_back(std::move(command));
}

cudaError_t State::enqueue(Stream& stream, Work work) {
  if (const cudaError_t error = admit_command(stream); error != cudaSuccess) return error;
  if (work.computes && !setup.compute) return cudaSuccess;
  if (stream.capture != nullptr) {
    add_node(stream, std::move(work));
  } else {
    push(stream, {.work = std::make_shared<const Work>(std::move(work)),
                  .sets = {},
                  .waits = {},
                  .graph = {}});
  }
  return cudaSuccess;
}

// --- Running.

void State::wait_not_busy(Lock& lock, Device& device) {
  changed.wait(lock, [&device] { return !device.busy; });
}

void State::close_regions() {
  if (!setup.protect) return;
  for (const auto& device : devices) {
    if (!device->busy) device->set_access(false);
  }
}

void State::fault(Device& device, cudaError_t error) {
  if (device.broken == cudaSuccess) device.broken = error;
  for (const auto& stream : device.streams) {
    // Streams of other devices must not hang on what never comes.
    for (const Command& command : stream->queue) {
      if (command.sets != nullptr) command.sets->done = true;
    }
    stream->queue.clear();
  }
}

void State::execute(Lock& lock, Device& device, std::shared_ptr<const Work> work) {
  using Clock = std::chrono::steady_clock;
  ++counts.commands[device.index];
  if (device.break_in > 0 && --device.break_in == 0) {
    fault(device, device.break_with);
    return;
  }
  if (work->admit != nullptr) {
    if (const cudaError_t error = work->admit(); error != cudaSuccess) {
      fault(device, error);
      return;
    }
  }

  device.busy = true;
  device.set_access(true);
  const double slow_factor = device.facts.slow_factor;
  running_device = &device;
  operand_fault = false;
  std::string thrown;
  lock.unlock();
  const Clock::time_point begin = Clock::now();
  try {
    work->run();
  } catch (const std::exception& e) {
    thrown = e.what();
    if (thrown.empty()) thrown = "an exception";
  } catch (...) {
    thrown = "something";
  }
  std::chrono::duration<double, std::milli> took = Clock::now() - begin;
  if (slow_factor > 1) std::this_thread::sleep_for(took * (slow_factor - 1));
  lock.lock();
  running_device = nullptr;
  took = std::max(took, decltype(took)(0.001));  // so that time goes on between two events
  device.clock_ms += took.count() * slow_factor;
  device.busy = false;

  for (const std::string& text : device.damaged_guards()) {
    complaints.push_back("after " + work->what + ": " + text);
  }
  if (!thrown.empty()) complaints.push_back(work->what + " threw: " + thrown);
  if (operand_fault) fault(device, cudaErrorIllegalAddress);
  if (!thrown.empty()) fault(device, cudaErrorLaunchFailure);
  changed.notify_all();
}

bool State::advance(Lock& lock, Device& device, unsigned visited) {
  if (device.busy) {  // somebody else advances it
    changed.wait(lock);
    return true;
  }
  auto& all = device.streams;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [](const auto& s) { return s->destroyed && s->idle(); }),
            all.end());

  if (device.hanging) return false;
  bool progress = false;
  std::vector<std::shared_ptr<Stream>> ready;
  for (const auto& stream : all) {
    std::deque<Command>& queue = stream->queue;
    while (!queue.empty() && queue.front().waits != nullptr && queue.front().waits->done) {
      queue.pop_front();
      progress = true;
    }
    if (!queue.empty() && queue.front().waits == nullptr) ready.push_back(stream);
  }
  if (ready.empty()) {
    // All of them wait for other devices, if for anything.
    visited |= 1U << device.index;
    for (const auto& stream : all) {
      if (stream->queue.empty()) continue;
      Device& other = *stream->queue.front().waits->device;
      if ((visited >> other.index & 1) == 0 && advance(lock, other, visited)) return true;
    }
    return progress;
  }

  const std::shared_ptr<Stream> stream = ready[random() % ready.size()];
  Command& front = stream->queue.front();
  if (front.sets != nullptr) {
    front.sets->done = true;
    front.sets->at_ms = device.clock_ms;
    stream->queue.pop_front();
  } else if (front.graph != nullptr) {
    const std::shared_ptr<GraphRun> run = front.graph;
    if (!run->done()) {
      const size_t node = run->take(random());
      execute(lock, device, run->graph->nodes[node].work);
      run->finish(node);
    }
    // Unless a fault has dropped it.
    if (run->done() && !stream->queue.empty() && stream->queue.front().graph == run) {
      stream->queue.pop_front();
    }
  } else {
    const std::shared_ptr<const Work> work = std::move(front.work);
    stream->queue.pop_front();
    stream->running = true;
    execute(lock, device, work);
    stream->running = false;
  }
  changed.notify_all();
  return true;
}

cudaError_t State::run_until(Lock& lock, Device& device, const std::function<bool()>& done) {
  cudaError_t error = cudaSuccess;
  while (device.broken == cudaSuccess && !done()) {
    if (advance(lock, device)) continue;
    if (device.hanging) {  // a real one would not come back; a test has to end
      complaints.push_back("a wait without end for a device that hangs");
      error = cudaErrorUnknown;
      break;
    }
    complaints.push_back("waiting for something that can never happen");
    error = cudaErrorUnknown;
    break;
  }
  close_regions();
  return device.broken != cudaSuccess ? device.broken : error;
}

void State::run_a_few(Lock& lock, Device& device, const std::function<bool()>& done) {
  for (uint64_t steps = 1 + random() % 3; steps > 0 && !done(); --steps) {
    if (device.broken != cudaSuccess || !advance(lock, device)) break;
  }
  close_regions();
}

}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cudaError_t fake_cuda_enqueue(cudaStream_t handle, const char* what, void (*run)(void*),
                              void* state, void (*drop)(void*)) {
  const std::shared_ptr<void> owned(state, [drop](void* p) {
    if (drop != nullptr) drop(p);
  });
  Call call("fake_cuda_enqueue");
  if (call.failed()) return call.error();
  Stream* stream = call.stream(handle);
  if (stream == nullptr) return call.error();
  if (stream->device != call.device()) {
    return call.refuse(cudaErrorInvalidResourceHandle,
                       std::string(what) + ": the stream is not of the current device");
  }
  return call.done(call.state.enqueue(
      *stream,
      {.what = what, .computes = true, .admit = {}, .run = [owned, run] { run(owned.get()); }}));
}

int fake_cuda_operand(const void* p, size_t bytes, const char* what) {
  // No lock: while its command runs, nobody else changes a device's allocations.
  if (running_device == nullptr) return 0;
  if (running_device->find(p, bytes) != running_device->allocations.end()) return 1;
  operand_fault = true;
  fake_cuda()->complain(std::string(what) + ": " + std::to_string(bytes) + " bytes at " + hex(p) +
                        " are not inside a live allocation of device " +
                        std::to_string(running_device->index));
  return 0;
}

}  // extern "C"
