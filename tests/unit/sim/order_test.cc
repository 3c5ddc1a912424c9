// Work runs late, and in any order that events allow.

#include <atomic>
#include <set>
#include <thread>

#include "sim_fixture.h"

namespace tamis {
namespace {

constexpr int kSeeds = 40;

std::string seeded(int seed) { return "seed=" + std::to_string(seed); }

TEST(SimOrder, NothingRunsBeforeSomebodyWaits) {
  Sim sim;
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(1);
  float source = 1, destination = 0;
  stream->upload(buffer.data(), &source, sizeof source);
  source = 2;
  stream->download(&destination, buffer.data(), sizeof destination);
  EXPECT_EQ(destination, 0);
  source = 3;
  stream->synchronize(kSoon);
  EXPECT_EQ(destination, 3);
}

TEST(SimOrder, AnEventIsWaitedForNoLongerThanItTakes) {
  Sim sim;
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(1);
  float before = 0, after = 0;
  stream->download(&before, buffer.data(), sizeof before);
  const auto event = stream->record();
  stream->download(&after, buffer.data(), sizeof after);
  event->synchronize(kSoon);
  EXPECT_NE(before, 0);
  EXPECT_EQ(after, 0);
  event->synchronize(kSoon);  // once more does nothing
  EXPECT_EQ(after, 0);
  stream->synchronize(kSoon);
  EXPECT_NE(after, 0);
}

TEST(SimOrder, WithinAStreamIsThatOfTheCalls) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    Sim sim(seeded(seed));
    const auto stream = sim.stream(), other = sim.stream();
    const Buffer buffer = sim.allocate_floats(2);
    std::vector<float> values(20), seen(20);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(i);
      stream->upload(floats(buffer), &values[i], sizeof(float));
      stream->download(&seen[i], floats(buffer), sizeof(float));
      other->upload(floats(buffer) + 1, &values[i], sizeof(float));
    }
    stream->synchronize(kSoon);
    EXPECT_EQ(seen, values);
  }
}

/// Two streams that write 1 and 2 into each of 32 cells, the second always called last: who came
/// last, cell by cell.
std::vector<float> last_writers(Sim& sim) {
  const auto first = sim.stream(), second = sim.stream();
  const Buffer buffer = sim.allocate_floats(32);
  const float one = 1, two = 2;
  for (int i = 0; i < 32; ++i) {
    first->upload(floats(buffer) + i, &one, sizeof one);
    second->upload(floats(buffer) + i, &two, sizeof two);
  }
  first->synchronize(kSoon);
  second->synchronize(kSoon);
  return read(*first, floats(buffer), 32);
}

std::vector<float> last_writers(const std::string& description) {
  Sim sim(description);
  return last_writers(sim);
}

TEST(SimOrder, BetweenStreamsIsThatOfTheCallsIfFifo) {
  EXPECT_EQ(last_writers("order=fifo"), std::vector<float>(32, 2.0f));
}

TEST(SimOrder, BetweenStreamsIsAnotherWithEachSeed) {
  std::set<std::vector<float>> orders;
  for (int seed = 0; seed < kSeeds; ++seed) orders.insert(last_writers(seeded(seed)));
  EXPECT_GT(orders.size(), size_t{kSeeds / 4});
  orders.erase(std::vector<float>(32, 2.0f));
  EXPECT_GT(orders.size(), 0u);
}

TEST(SimOrder, BetweenStreamsIsTheSameWithTheSameSeed) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    EXPECT_EQ(last_writers(seeded(seed)), last_writers(seeded(seed)));
  }
}

TEST(SimOrder, MayBeChangedWhileTheDeviceIsThere) {
  Sim sim;
  for (int seed = 2; seed < kSeeds; ++seed) {
    sim.state->apply(seeded(seed));
    EXPECT_EQ(last_writers(sim), last_writers(seeded(seed)));
  }
  sim.state->apply("order=fifo");
  EXPECT_EQ(last_writers(sim), std::vector<float>(32, 2.0f));
}

/// One stream uploads, another reads `behind` copies later. Returns how often the value was right.
int times_right(bool with_wait, int behind) {
  int right = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    Sim sim(seeded(seed));
    const auto copies = sim.stream(), compute = sim.stream();
    const Buffer buffer = sim.allocate_floats(2);
    const float five = 5;
    float got = 0;
    copies->upload(floats(buffer), &five, sizeof five);
    const auto uploaded = copies->record();
    if (with_wait) compute->wait(*uploaded);
    for (int i = 0; i < behind; ++i) compute->download(&got, floats(buffer) + 1, sizeof got);
    compute->download(&got, floats(buffer), sizeof got);
    compute->synchronize(kSoon);
    right += got == 5;
  }
  return right;
}

TEST(SimOrder, AMissingWaitShows) {
  EXPECT_LT(times_right(false, 0), kSeeds);
  EXPECT_GT(times_right(false, 0), 0);
}

TEST(SimOrder, AMissingWaitShowsEvenIfThereIsMuchWorkBetween) {
  EXPECT_LT(times_right(false, 300), kSeeds);
}

TEST(SimOrder, AWaitMendsIt) {
  EXPECT_EQ(times_right(true, 0), kSeeds);
  EXPECT_EQ(times_right(true, 300), kSeeds);
}

TEST(SimOrder, AWaitHoldsBackOnlyWhatComesAfterIt) {
  Sim sim;
  const auto first = sim.stream(), second = sim.stream();
  const Buffer buffer = sim.allocate_floats(1);
  const float one = 1, two = 2;
  // second's write waits for first's, which waits for second's earlier one.
  second->upload(buffer.data(), &two, sizeof two);
  const auto earlier = second->record();
  first->wait(*earlier);
  first->upload(buffer.data(), &one, sizeof one);
  const auto written = first->record();
  second->wait(*written);
  EXPECT_EQ(read(*second, floats(buffer), 1)[0], 1);
}

TEST(SimOrder, AStreamThatIsDestroyedDropsItsWork) {
  Sim sim("order=fifo");
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(1);
  float never = 0;
  std::unique_ptr<Event> event;
  {
    const auto doomed = sim.stream();
    doomed->download(&never, buffer.data(), sizeof never);
    event = doomed->record();
    stream->wait(*event);
  }
  stream->synchronize(kSoon);  // its event counts as reached
  event->synchronize(kSoon);
  EXPECT_EQ(never, 0);
}

TEST(SimOrder, AStreamWorksOnWithoutItsDevicesHandle) {
  Sim sim;
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(1);
  sim.device.reset();
  write(*stream, floats(buffer), {7});
  EXPECT_EQ(read(*stream, floats(buffer), 1)[0], 7);
}

TEST(SimOrder, AnEventOfAnotherDeviceCannotBeWaitedFor) {
  Sim sim, other("", "sim:1");
  const auto stream = sim.stream();
  const auto foreign = other.stream()->record();
  expect_error(ErrorCode::kInternal, {"sim:0", "another device"}, [&] { stream->wait(*foreign); });
  const auto hosts = sim.host->make_stream(StreamOptions())->record();
  expect_error(ErrorCode::kInternal, {"sim:0", "another device"}, [&] { stream->wait(*hosts); });
}

// Errors.

struct Failing : testing::Test {
  Sim sim;
  std::shared_ptr<Stream> bad = sim.stream(), good = sim.stream();
  Buffer buffer = sim.allocate_floats(1);
  float out = 0, unused = 0;

  void give_bad_work() { bad->upload(&unused, &unused, sizeof unused); }
  void expect_thrown(const std::function<void()>& run) {
    expect_error(ErrorCode::kInternal, {"is not memory of sim:0"}, run);
  }
};

TEST_F(Failing, TheErrorBelongsToTheStreamOfTheWork) {
  give_bad_work();
  good->download(&out, buffer.data(), sizeof out);
  EXPECT_NO_THROW(good->synchronize(kSoon));
  EXPECT_NE(out, 0);
  expect_thrown([&] { bad->synchronize(kSoon); });
}

TEST_F(Failing, LaterWorkIsDroppedUntilTheErrorIsThrown) {
  const auto event = good->record();
  give_bad_work();
  bad->download(&out, buffer.data(), sizeof out);
  const auto after = bad->record();
  good->wait(*after);
  good->synchronize(kSoon);  // makes sure that it has failed
  bad->download(&out, buffer.data(), sizeof out);
  expect_thrown([&] { bad->synchronize(kSoon); });
  EXPECT_EQ(out, 0);
  bad->download(&out, buffer.data(), sizeof out);
  EXPECT_NO_THROW(bad->synchronize(kSoon));
  EXPECT_NE(out, 0);
}

TEST_F(Failing, AnEventAfterTheErrorThrowsIt) {
  const auto before = bad->record();
  give_bad_work();
  const auto after = bad->record();
  EXPECT_NO_THROW(before->synchronize(kSoon));
  expect_thrown([&] { after->synchronize(kSoon); });
  EXPECT_NO_THROW(before->synchronize(kSoon));
  EXPECT_NO_THROW(bad->synchronize(kSoon));
}

// Threads.

TEST(SimThreads, TwoMayWaitForTwoStreamsAThousandTimes) {
  Sim sim;
  const Buffer buffer = sim.allocate_floats(2);
  const auto work = [&](int which) {
    const auto stream = sim.stream();
    float* cell = floats(buffer) + which;
    for (int i = 0; i < 1000; ++i) {
      const auto value = static_cast<float>(i);
      float got = -1;
      stream->upload(cell, &value, sizeof value);
      const auto event = stream->record();
      stream->download(&got, cell, sizeof got);
      if (i % 2 == 0) event->synchronize(kSoon);
      stream->synchronize(kSoon);
      ASSERT_EQ(got, value);
    }
  };
  std::thread one(work, 0), two(work, 1);
  one.join();
  two.join();
}

TEST(SimThreads, ManyMayWaitForWorkThatDependsOnEachOthers) {
  constexpr int kThreads = 4;
  for (int seed = 0; seed < 10; ++seed) {
    Sim sim(seeded(seed));
    const Buffer buffer = sim.allocate_floats(1);
    const auto values = [] {
      std::vector<float> out(100);
      for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(i);
      return out;
    }();
    std::vector<std::shared_ptr<Stream>> streams;
    for (int i = 0; i < kThreads; ++i) streams.push_back(sim.stream());
    std::unique_ptr<Event> last;
    std::vector<float> got(values.size());
    for (size_t i = 0; i < values.size(); ++i) {  // a chain that goes round the streams
      Stream& stream = *streams[i % kThreads];
      if (last != nullptr) stream.wait(*last);
      stream.upload(buffer.data(), &values[i], sizeof(float));
      stream.download(&got[i], buffer.data(), sizeof(float));
      last = stream.record();
    }
    std::vector<std::thread> threads;
    for (const auto& stream : streams) {
      threads.emplace_back([&stream] { stream->synchronize(kSoon); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(got, values);
  }
}

TEST(SimThreads, MemoryMayBeTakenAndGivenBackWhileOthersWork) {
  Sim sim;
  std::atomic<bool> stop{false};
  std::thread allocating([&] {
    while (!stop) {
      const Buffer buffer = sim.allocate(5000);
      EXPECT_TRUE(sim.device->owns(buffer.data(), 5000));
      EXPECT_LE(sim.device->memory().free_bytes + 5000, sim.device->memory().total_bytes);
    }
  });
  const auto stream = sim.stream();
  const Buffer buffer = sim.allocate_floats(100);
  for (int i = 0; i < 300; ++i) write(*stream, floats(buffer), std::vector<float>(100, 1.0f));
  stop = true;
  allocating.join();
}

TEST(SimThreads, FreeingWhatIsInUseNeverCrashes) {
  for (int i = 0; i < 100; ++i) {
    Sim sim;
    const auto stream = sim.stream();
    Buffer buffer = sim.allocate_floats(50000);
    for (int j = 0; j < 20; ++j) stream->ops().l2_normalize(Mat(floats(buffer), 500, 100));
    std::thread freeing([&] { buffer = Buffer(); });
    try {
      stream->synchronize(kSoon);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInternal) << error.what();
    }
    freeing.join();
  }
}

}  // namespace
}  // namespace tamis
