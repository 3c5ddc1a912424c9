#pragma once

// Cards without one: the CUDA plug-in over the fakes of the runtime and the emulated kernels.

#include <gtest/gtest.h>

#include <string>

#include "emulation/emulator.h"
#include "fakes/cuda/fake_cudart.h"
#include "tamis/device.h"

namespace tamis {

/// The machine of a test. At its end nothing may be left, and nothing may have been complained of.
class FakeMachine {
 public:
  explicit FakeMachine(int cards = 1, size_t memory = size_t{1} << 30, int capability = 80) {
    fakes::FakeSetup setup;
    setup.devices.clear();
    for (int i = 0; i < cards; ++i) {
      fakes::FakeDevice device;
      device.name = "Fake GPU " + std::to_string(i);
      device.memory_bytes = memory;
      device.major = capability / 10;
      device.minor = capability % 10;
      setup.devices.push_back(device);
    }
    start(setup);
  }
  explicit FakeMachine(const fakes::FakeSetup& setup) { start(setup); }
  ~FakeMachine() {
    expect_nothing_left("at the end");
    for (const std::string& text : fake().complaints()) ADD_FAILURE() << text;
  }
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;

  fakes::FakeCuda& fake() const { return *fake_cuda(); }
  fakes::FakeCounts counts() const { return fake().counts(); }
  /// The n-th allocation from now on fails.
  void fail_allocation(long n) const { fake().fail_allocation(counts().allocation_attempts + n); }

  void expect_nothing_left(const std::string& when) const {
    const fakes::FakeLive live = fake().live();
    EXPECT_TRUE(live.none()) << when << ": " << live.allocations << " allocations, " << live.pinned
                             << " pinned, " << live.streams << " streams, " << live.events
                             << " events, " << live.graphs + live.graph_execs << " graphs, "
                             << live.lt_objects << " objects of cublasLt";
  }

 private:
  static void start(const fakes::FakeSetup& setup) {
    emulation::settings() = {};
    fake_cuda()->set_up(setup);
  }
};

}  // namespace tamis
