// How a simulated accelerator is described.

#include "backend/sim/sim_state.h"

#include "sim_fixture.h"

namespace tamis {
namespace {

TEST(SimState, TellsNothingMeans16GiBAtOnceShuffled) {
  const SimOptions options = SimState().options();
  EXPECT_EQ(options.memory_bytes, size_t{16} << 30);
  EXPECT_EQ(options.gflops, 0);
  EXPECT_EQ(options.copy_gbps, 0);
  EXPECT_EQ(options.launch_us, 0);
  EXPECT_EQ(options.slow, 1);
  EXPECT_EQ(options.seed, 1u);
  EXPECT_TRUE(options.shuffled);
}

TEST(SimState, EveryPropertyHasAKey) {
  SimState state;
  state.apply(
      "memory=2GiB,gflops=50.5,launch_us=10,copy_gbps=12,slow=3,seed=7,order=fifo,name=Big one");
  const SimOptions options = state.options();
  EXPECT_EQ(options.memory_bytes, size_t{2} << 30);
  EXPECT_EQ(options.gflops, 50.5);
  EXPECT_EQ(options.launch_us, 10);
  EXPECT_EQ(options.copy_gbps, 12);
  EXPECT_EQ(options.slow, 3);
  EXPECT_EQ(options.seed, 7u);
  EXPECT_FALSE(options.shuffled);
  EXPECT_EQ(options.name, "Big one");
}

TEST(SimState, ADescriptionChangesOnlyWhatItNames) {
  SimState state;
  state.apply("memory=1MB,gflops=5");
  state.apply("gflops=6");
  state.apply("");
  EXPECT_EQ(state.options().memory_bytes, 1000000u);
  EXPECT_EQ(state.options().gflops, 6);
}

TEST(SimState, WhatItDoesNotUnderstandIsRefusedWithTheListOfKeys) {
  for (const char* wrong : {"memory",
                            "memory=",
                            "memory=0",
                            "memory=lots",
                            "gflops=-1",
                            "gflops=1e999",
                            "gflops=nan",
                            "launch_us=x",
                            "copy_gbps=1 2",
                            "slow=-1",
                            "seed=1.5",
                            "seed=-1",
                            "order=random",
                            "fail_alloc=0",
                            "fail_alloc=-1",
                            "fail_alloc_from=x",
                            "fail_op=0",
                            "gone=yes",
                            "hang=2",
                            "heal=0",
                            "Memory=1GiB",
                            "speed=9",
                            "=",
                            ",",
                            "memory=1GiB,,seed=2",
                            " seed=2"}) {
    SCOPED_TRACE(wrong);
    expect_error(ErrorCode::kInvalidArgument,
                 {"simulated device", "memory", "gflops", "launch_us", "copy_gbps", "slow", "seed",
                  "fifo or shuffled", "name", "fail_alloc", "fail_alloc_from", "fail_op", "gone",
                  "hang", "heal"},
                 [&] { SimState().apply(wrong); });
  }
}

TEST(SimState, AWrongDescriptionChangesNothing) {
  SimState state;
  expect_error(ErrorCode::kInvalidArgument, {"expected seed=a whole number, got \"seed=x\""},
               [&] { state.apply("memory=1GiB,gone=1,seed=x"); });
  EXPECT_EQ(state.options().memory_bytes, SimOptions().memory_bytes);
  EXPECT_NO_THROW(state.require_alive("sim:0"));
}

TEST(SimState, TheDeviceTellsWhatItIs) {
  const Sim sim("memory=16GB,gflops=50");
  const DeviceInfo& got = sim.device->info();
  EXPECT_EQ(got.name, "sim:0");
  EXPECT_EQ(got.kind, "sim");
  EXPECT_EQ(got.description, "simulated accelerator, 16.0 GB, 50 GFLOP/s");
  EXPECT_FALSE(got.host_memory);
  EXPECT_EQ(got.batch_tokens, 4096u);
  EXPECT_EQ(got.least_tokens, 256u);
  EXPECT_EQ(Sim("memory=1GB,name=Small").device->info().description,
            "Small, simulated accelerator, 1.00 GB");
}

}  // namespace
}  // namespace tamis
