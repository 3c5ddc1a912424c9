#pragma once

// A card without one: the CUDA plug-in over the fake runtime and the emulated kernels.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "fakes/cuda/fake_cuda.h"
#include "tamis/device.h"

namespace tamis {

/// The machine of a test. At its end nothing may be left, and nothing may have been complained of.
class FakeMachine {
 public:
  explicit FakeMachine(int cards = 1, size_t memory = size_t{1} << 30, int capability = 80) {
    fake().reset(cards, memory, capability);
    fake().random.seed(20261127);
    fake().last_warp_first = false;
    fake().compute = true;
  }
  ~FakeMachine() {
    EXPECT_EQ(fake().leaks(), "");
    for (const std::string& text : fake().complaints) ADD_FAILURE() << text;
    fake().complaints.clear();
  }
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;

  fakes::FakeCuda& fake() const { return *fake_cuda(); }
};

}  // namespace tamis
