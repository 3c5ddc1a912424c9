// Memory of its own: out of the host's reach, of a fixed size, and checked to the byte.

#include <cmath>
#include <limits>

#include "sim_fixture.h"

namespace tamis {
namespace {

TEST(SimMemory, AHostThatTouchesItDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Sim sim;
  const Buffer buffer = sim.allocate_floats(1);
  volatile float* p = floats(buffer);
  EXPECT_DEATH(*p = 1.0f, "");
  EXPECT_DEATH(EXPECT_EQ(*p, 1.0f), "");
}

TEST(SimMemory, KeepsWhatIsUploaded) {
  Sim sim;
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(1000);
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  write(*stream, floats(buffer), values);
  EXPECT_EQ(read(*stream, floats(buffer), 1000), values);
  EXPECT_EQ(read(*stream, floats(buffer) + 990, 10),
            std::vector<float>(values.end() - 10, values.end()));
}

TEST(SimMemory, IsPoisonedWhenFresh) {
  Sim sim;
  const auto stream = sim.stream();
  for (int i = 0; i < 3; ++i) {  // also where the bytes were used before
    const Buffer buffer = sim.allocate(1001);
    std::vector<uint8_t> bytes(1001, 0);
    stream->download(bytes.data(), buffer.data(), bytes.size());
    stream->synchronize(kSoon);
    EXPECT_EQ(bytes, std::vector<uint8_t>(1001, 0xFF));
    std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    stream->upload(buffer.data(), bytes.data(), bytes.size());
    stream->synchronize(kSoon);
  }
  const Buffer buffer = sim.allocate_floats(1);
  EXPECT_TRUE(std::isnan(read(*stream, floats(buffer), 1)[0]));
}

TEST(SimMemory, IsAlignedTo64Bytes) {
  Sim sim;
  std::vector<Buffer> buffers;
  for (size_t bytes : {1, 63, 64, 65, 4096, 100000}) {
    buffers.push_back(sim.allocate(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffers.back().data()) % 64, 0u) << bytes;
  }
}

TEST(SimMemory, HasTheSizeThatItWasGiven) {
  Sim sim("memory=1MB");
  EXPECT_EQ(sim.device->memory().total_bytes, 1000000u);
  const Buffer first = sim.allocate(600000);
  EXPECT_EQ(sim.device->memory().free_bytes, 400000u);
  expect_error(ErrorCode::kResourceExhausted, {"sim:0", "401 KB needed, 400 KB of 1.00 MB free"},
               [&] { sim.allocate(401000); });
  EXPECT_EQ(sim.device->memory().free_bytes, 400000u);
  EXPECT_EQ(sim.device->used_bytes(), 600000u);
  EXPECT_EQ(sim.account->use().used(), 600000u);
  const Buffer rest = sim.allocate(400000);
  EXPECT_EQ(sim.device->memory().free_bytes, 0u);
  expect_error(ErrorCode::kResourceExhausted, {"0 B of 1.00 MB free"}, [&] { sim.allocate(1); });
}

TEST(SimMemory, RefusesWhatTheHostDoesNotHave) {
  Sim sim("memory=8EB");
  expect_error(ErrorCode::kResourceExhausted, {"sim:0: 2.31 EB needed", "the host"},
               [&] { sim.allocate(size_t{1} << 61); });
  expect_error(ErrorCode::kResourceExhausted, {"18.4 EB needed, 8.00 EB of 8.00 EB free"},
               [&] { sim.allocate(std::numeric_limits<size_t>::max()); });
  EXPECT_EQ(sim.device->used_bytes(), 0u);
}

TEST(SimMemory, MayShrinkBelowWhatIsInUse) {
  Sim sim("memory=1MB");
  const Buffer buffer = sim.allocate(600000);
  sim.state->apply("memory=500KB");
  EXPECT_EQ(sim.device->memory().total_bytes, 500000u);
  EXPECT_EQ(sim.device->memory().free_bytes, 0u);
}

TEST(SimMemory, IsAllThereAgainWhenEverythingIsDestroyed) {
  Sim sim("memory=1GB");
  {
    const auto stream = sim.stream();
    std::vector<Buffer> buffers;
    for (size_t i = 1; i <= 100; ++i) {
      buffers.push_back(sim.allocate(i * 1000));
      stream->upload(buffers.back().data(), buffers.data(), 1);
    }
    EXPECT_EQ(sim.device->used_bytes(), 5050000u);
  }
  EXPECT_EQ(sim.device->used_bytes(), 0u);
  EXPECT_EQ(sim.device->peak_bytes(), 5050000u);
  EXPECT_EQ(sim.device->memory().free_bytes, 1000000000u);
  EXPECT_EQ(sim.account->use().used(), 0u);
}

TEST(SimMemory, ThousandsOfAllocationsDoNotUseUpTheAddresses) {
  Sim sim("memory=1MB");
  for (int i = 0; i < 20000; ++i) sim.allocate(100);
  EXPECT_EQ(sim.device->memory().free_bytes, 1000000u);
}

TEST(SimMemory, OwnsWhatLiesWithinOneLivingAllocation) {
  Sim sim, other("", "sim:1");
  Buffer buffer = sim.allocate(1000);
  const Buffer foreign = other.allocate(1000);
  const std::byte* p = buffer.data();
  EXPECT_TRUE(sim.device->owns(p, 1000));
  EXPECT_TRUE(sim.device->owns(p + 999, 1));
  EXPECT_FALSE(sim.device->owns(p, 1001));
  EXPECT_FALSE(sim.device->owns(p + 1000, 1));
  EXPECT_FALSE(sim.device->owns(p - 1, 2));
  EXPECT_FALSE(sim.device->owns(p, std::numeric_limits<size_t>::max()));
  EXPECT_FALSE(sim.device->owns(foreign.data(), 1));
  EXPECT_FALSE(sim.device->owns(&sim, 1));
  EXPECT_FALSE(sim.device->owns(nullptr, 1));
  buffer = Buffer();
  EXPECT_FALSE(sim.device->owns(p, 1));
}

TEST(SimMemory, WorkOnFreedMemoryFailsEvenIfMuchIsAllocatedMeanwhile) {
  Sim sim;
  const auto stream = sim.stream();
  Buffer buffer = sim.allocate_floats(10);
  float out[10];
  stream->download(out, buffer.data(), sizeof out);
  buffer = Buffer();
  std::vector<Buffer> later;
  for (int i = 0; i < 100; ++i) later.push_back(sim.allocate_floats(10));
  expect_error(ErrorCode::kInternal, {"sim:0: download: source", "is not memory of sim:0", "freed"},
               [&] { stream->synchronize(kSoon); });
}

TEST(SimMemory, CopiesCheckBothSides) {
  Sim sim, other("", "sim:1");
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate(100);
  const Buffer foreign = other.allocate(100);
  std::vector<std::byte> host(101);
  const auto fails = [&](const std::vector<std::string>& parts) {
    expect_error(ErrorCode::kInternal, parts, [&] { stream->synchronize(kSoon); });
  };
  stream->upload(host.data(), host.data(), 100);
  fails({"upload: destination, 100 bytes at 0x", "is not memory of sim:0"});
  stream->upload(foreign.data(), host.data(), 100);
  fails({"upload: destination", "is not memory of sim:0", "another device's"});
  stream->upload(buffer.data(), host.data(), 101);
  fails({"upload: destination", "1 bytes after its allocation of 100"});
  stream->download(host.data(), buffer.data() + 1, 100);
  fails({"download: source", "1 bytes after its allocation of 100"});
  stream->upload(buffer.data(), buffer.data(), 100);
  fails({"upload", "not of the host"});
  stream->download(buffer.data(), buffer.data(), 100);
  fails({"download", "not of the host"});
}

}  // namespace
}  // namespace tamis
