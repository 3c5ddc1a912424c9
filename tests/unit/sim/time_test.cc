// What work costs: never less than its simulated time. Upper bounds are wide, for the machine may
// have other things to do.

#include <thread>

#include "sim_fixture.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds time_of(const std::function<void()>& run) {
  const auto start = steady_clock::now();
  run();
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

/// A stream and 1,000 x 1,000 floats.
struct Timed {
  explicit Timed(std::string_view description, const std::string& name = "sim:0")
      : sim(description, name), stream(sim.stream()), buffer(sim.allocate_floats(1000000)) {}
  Mat mat(int64_t rows, int64_t cols) const { return {floats(buffer), rows, cols}; }
  milliseconds synchronize() {
    return time_of([this] { stream->synchronize(kSoon); });
  }

  Sim sim;
  std::shared_ptr<Stream> stream;
  Buffer buffer;
};

TEST(SimTime, IsNoneUnlessAsked) {
  Timed t("");
  for (int i = 0; i < 100; ++i) t.stream->ops().l2_normalize(t.mat(1, 1));
  EXPECT_LT(t.synchronize(), milliseconds(2000));
}

TEST(SimTime, OfAnElementwiseOpIsEightOperationsANumber) {
  Timed t("gflops=0.01");
  t.stream->ops().l2_normalize(t.mat(100, 1000));  // 800,000 at 10 million a second
  const milliseconds took = t.synchronize();
  EXPECT_GE(took, milliseconds(80));
  EXPECT_LT(took, milliseconds(2000));
}

TEST(SimTime, OfALinearLayerIsItsMultiplicationsAndAdditions) {
  Timed t("");
  const size_t bytes = t.sim.device->linear_bytes(100, 50, DType::kF32);
  const Buffer weights = t.sim.allocate(bytes);
  const Buffer scratch = t.sim.allocate(1 << 20);
  t.stream->ops().set_scratch({scratch.data(), scratch.bytes()});
  t.sim.state->apply("gflops=0.001");
  t.stream->ops().linear({100, 50, DType::kF32, weights.data(), bytes}, t.mat(10, 100),
                         Activation::kNone, Mat(floats(t.buffer) + 2000, 10, 50));
  const milliseconds took = t.synchronize();  // 2 * 10 * 100 * 50 at a million a second
  EXPECT_GE(took, milliseconds(100));
  EXPECT_LT(took, milliseconds(2000));
}

TEST(SimTime, OfAttentionIsThatOfEachSequencesQueriesAndKeys) {
  Timed t("");
  const Buffer scratch = t.sim.allocate(1 << 20), bounds = t.sim.allocate(3 * sizeof(int32_t));
  const int32_t cu[] = {0, 10, 40};
  t.stream->upload(bounds.data(), cu, sizeof cu);
  t.stream->ops().set_scratch({scratch.data(), scratch.bytes()});
  t.stream->synchronize(kSoon);
  t.sim.state->apply("gflops=0.001");
  AttentionView a;
  a.q = a.k = a.v = t.mat(40, 20);
  a.cu_queries = a.cu_keys = reinterpret_cast<const int32_t*>(bounds.data());
  a.sequences = 2;
  a.heads = 2;
  t.stream->ops().attention(a, Mat(floats(t.buffer) + 2000, 40, 20));
  const milliseconds took = t.synchronize();  // 4 * (10 * 10 + 30 * 30) * 20 at a million a second
  EXPECT_GE(took, milliseconds(80));
  EXPECT_LT(took, milliseconds(2000));
}

TEST(SimTime, OfCopiesIsTheirBytes) {
  Timed t("copy_gbps=0.02");
  std::vector<float> host(500000);
  t.stream->upload(t.buffer.data(), host.data(), 2000000);
  EXPECT_GE(t.synchronize(), milliseconds(100));
  t.stream->download(host.data(), t.buffer.data(), 2000000);
  EXPECT_GE(t.synchronize(), milliseconds(100));
}

TEST(SimTime, OfEachLaunchIsAddedAndAllIsMultiplied) {
  Timed t("launch_us=2000,slow=5");
  float out = 0;
  for (int i = 0; i < 5; ++i) {
    t.stream->ops().l2_normalize(t.mat(1, 1));
    t.stream->download(&out, t.buffer.data(), sizeof out);
  }
  EXPECT_GE(t.synchronize(), milliseconds(100));
  t.sim.state->apply("slow=0");
  t.stream->ops().l2_normalize(t.mat(1, 1));
  EXPECT_LT(t.synchronize(), milliseconds(2000));
}

TEST(SimTime, OfAnEventIsThatOfTheWorkBeforeIt) {
  Timed t("launch_us=50000");
  t.stream->ops().l2_normalize(t.mat(1, 1));
  const auto event = t.stream->record();
  for (int i = 0; i < 100; ++i) t.stream->ops().l2_normalize(t.mat(1, 1));
  const milliseconds took = time_of([&] { event->synchronize(kSoon); });
  EXPECT_GE(took, milliseconds(50));
  EXPECT_LT(took, milliseconds(4000));
}

TEST(SimTime, OfOneDeviceIsSharedByItsStreams) {
  Timed t("launch_us=50000");
  const auto other = t.sim.stream();
  t.stream->ops().l2_normalize(t.mat(1, 1));
  other->ops().l2_normalize(t.mat(1, 1));
  EXPECT_GE(time_of([&] {
              t.stream->synchronize(kSoon);
              other->synchronize(kSoon);
            }),
            milliseconds(100));
}

TEST(SimTime, OfSeveralDevicesPassesAtOnce) {
  constexpr int kDevices = 4;
  std::vector<std::unique_ptr<Timed>> devices;
  for (int i = 0; i < kDevices; ++i) {
    devices.push_back(std::make_unique<Timed>("launch_us=500000", "sim:" + std::to_string(i)));
    devices.back()->stream->ops().l2_normalize(devices.back()->mat(1, 1));
  }
  const milliseconds took = time_of([&] {
    std::vector<std::thread> threads;
    for (const auto& device : devices) {
      threads.emplace_back([&device] { device->stream->synchronize(kSoon); });
    }
    for (std::thread& thread : threads) thread.join();
  });
  EXPECT_GE(took, milliseconds(500));
  EXPECT_LT(took, milliseconds(500 * kDevices - 300));
}

TEST(SimTime, BeyondTheTimeoutIsAnError) {
  Timed t("launch_us=10000000");
  t.stream->ops().l2_normalize(t.mat(1, 1));
  const milliseconds took = time_of([&] {
    expect_error(ErrorCode::kUnavailable, {"sim:0", "did not end within 20 ms"},
                 [&] { t.stream->synchronize(milliseconds(20)); });
  });
  EXPECT_GE(took, milliseconds(20));
  EXPECT_LT(took, milliseconds(9000));
}

TEST(SimTime, MayBeWaitedForWithoutEnd) {
  Timed t("launch_us=1000");
  t.stream->ops().l2_normalize(t.mat(1, 1));
  EXPECT_NO_THROW(t.stream->synchronize(milliseconds::max()));
}

}  // namespace
}  // namespace tamis
