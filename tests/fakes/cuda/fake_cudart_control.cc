// What tests set and read of the fake libcudart: FakeCuda over the state.

#include "fake_cudart_state.h"

namespace tamis::fakes {
namespace {

class Control final : public FakeCuda {
 public:
  void set_up(const FakeSetup& wanted) override {
    const Lock lock(state_.mutex);
    state_.start(wanted);
    current_device = 0;  // this thread's; the new machine may have fewer
  }

  FakeSetup setup() const override {
    const Lock lock(state_.mutex);
    return state_.setup;
  }

  void set_seed(uint64_t seed) override {
    const Lock lock(state_.mutex);
    state_.setup.seed = seed;
    state_.random.seed(seed);
  }

  void set_protect(bool on) override {
    const Lock lock(state_.mutex);
    state_.setup.protect = on;
    for (const auto& device : state_.devices) {
      if (!device->busy) device->set_access(!on);
    }
  }

  void set_slow_factor(int device, double factor) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) {
      found->facts.slow_factor = factor;
      state_.setup.devices[static_cast<size_t>(device)].slow_factor = factor;
    }
  }

  void set_memory(int device, size_t bytes) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) found->facts.memory_bytes = bytes;
  }

  void fail_allocation_on(int device, long nth) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) found->fail_in = nth;
  }

  void fail_allocations_on_from(int device, long nth) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) {
      found->fail_from_in = nth;
      found->fails_from_now = false;
    }
  }

  void hang(int device) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) found->hanging = true;
  }

  void fail_allocation(long n) override {
    const Lock lock(state_.mutex);
    state_.fail_at = n;
  }

  void fail_allocations_from(long n) override {
    const Lock lock(state_.mutex);
    state_.fail_from = n;
  }

  void break_device(int device, long nth_command, cudaError_t error) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) {
      found->break_in = nth_command;
      found->break_with = error;
      if (nth_command == 0) state_.fault(*found, error);
    }
  }

  void heal(int device) override {
    const Lock lock(state_.mutex);
    if (Device* found = find(device)) {
      found->break_in = 0;
      found->broken = cudaSuccess;
      found->hanging = found->fails_from_now = false;
      found->fail_in = found->fail_from_in = 0;
    }
  }

  FakeCounts counts() const override {
    const Lock lock(state_.mutex);
    return state_.counts;
  }

  void reset_counters() override {
    const Lock lock(state_.mutex);
    state_.counts = {};
  }

  FakeLive live() const override {
    const Lock lock(state_.mutex);
    FakeLive live;
    for (const auto& device : state_.devices) {
      live.allocations += device->allocations.size();
      for (const auto& allocation : device->allocations) {
        live.allocated_bytes += allocation.second.bytes;
      }
      for (const auto& stream : device->streams) {
        live.queued += stream->queue.size() + (stream->running ? 1 : 0);
      }
    }
    live.pinned = state_.pinned.size();
    for (const auto& block : state_.pinned) live.pinned_bytes += block.second;
    live.streams = state_.streams.size();
    live.events = state_.events.size();
    live.graphs = state_.graphs.size();
    live.graph_execs = state_.graph_execs.size();
    live.lt_objects = static_cast<size_t>(state_.lt_objects);
    return live;
  }

  std::vector<std::string> complaints() const override {
    const Lock lock(state_.mutex);
    return state_.complaints;
  }

  void clear_complaints() override {
    const Lock lock(state_.mutex);
    state_.complaints.clear();
  }

  void complain(const std::string& text) override {
    const Lock lock(state_.mutex);
    state_.complaints.push_back(text);
  }

  void count_call(const char* function) override {
    const Lock lock(state_.mutex);
    ++state_.counts.calls[function];
  }

  void count_heuristic() override {
    const Lock lock(state_.mutex);
    ++state_.counts.heuristics;
  }

  void count_matmul() override {
    const Lock lock(state_.mutex);
    ++state_.counts.matmuls;
  }

  void count_lt_objects(int change) override {
    const Lock lock(state_.mutex);
    state_.lt_objects += change;
  }

 private:
  Device* find(int device) {
    const auto index = static_cast<size_t>(device);
    return device >= 0 && index < state_.devices.size() ? state_.devices[index].get() : nullptr;
  }

  State& state_ = State::get();
};

}  // namespace
}  // namespace tamis::fakes

extern "C" tamis::fakes::FakeCuda* fake_cuda() {
  static auto* control = new tamis::fakes::Control;
  return control;
}
