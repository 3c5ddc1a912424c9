// Everything that goes wrong with a device, on request.

#include <thread>

#include "sim_fixture.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TEST(SimFaults, TheNthAllocationFailsOnce) {
  for (int n = 1; n <= 5; ++n) {
    Sim sim;
    sim.state->apply("fail_alloc=" + std::to_string(n));
    std::vector<Buffer> buffers;
    for (int i = 1; i <= 8; ++i) {
      if (i == n) {
        expect_error(ErrorCode::kResourceExhausted, {"sim:0", "1.00 KB needed", "fail_alloc"},
                     [&] { sim.allocate(1000); });
      } else {
        buffers.push_back(sim.allocate(1000));
      }
    }
    EXPECT_EQ(sim.device->used_bytes(), 7000u);
    EXPECT_EQ(sim.account->use().used(), 7000u);
  }
}

TEST(SimFaults, AllAllocationsFromTheNthFailUntilThatIsSwitchedOff) {
  for (const char* off : {"fail_alloc_from=0", "heal=1"}) {
    Sim sim;
    const Buffer before = sim.allocate(1);
    sim.state->apply("fail_alloc_from=3");
    const Buffer first = sim.allocate(1), second = sim.allocate(1);
    for (int i = 0; i < 5; ++i) {
      expect_error(ErrorCode::kResourceExhausted, {"sim:0"}, [&] { sim.allocate(1); });
    }
    sim.state->apply(off);
    EXPECT_NO_THROW(sim.allocate(1));
  }
}

/// A device with a stream, some memory, and work on it.
struct Faulty : testing::Test {
  Sim sim;
  std::shared_ptr<Stream> stream = sim.stream(), other = sim.stream();
  Buffer buffer = sim.allocate_floats(4);
  std::unique_ptr<Event> event = stream->record();
  float out = 0;

  void SetUp() override { write(*stream, floats(buffer), {3, 4, 5, 6}); }
  void op() { stream->ops().l2_normalize(Mat(floats(buffer), 1, 2)); }
  void copy() { stream->download(&out, buffer.data(), sizeof out); }
  void synchronize() { stream->synchronize(kSoon); }

  void expect_unavailable(const std::string& message, const std::function<void()>& run) {
    expect_error(ErrorCode::kUnavailable, {"sim:0", message}, run);
  }
  void expect_every_call_fails(const std::string& message) {
    float x = 0;
    const auto fails = [&](const std::function<void()>& run) { expect_unavailable(message, run); };
    fails([&] { sim.allocate(1); });
    fails([&] { sim.device->memory(); });
    fails([&] { sim.stream(); });
    fails([&] { stream->upload(buffer.data(), &x, sizeof x); });
    fails([&] { stream->download(&x, buffer.data(), sizeof x); });
    fails([&] { stream->record(); });
    fails([&] { stream->wait(*event); });
    fails([&] { stream->synchronize(kSoon); });
    fails([&] { other->synchronize(kSoon); });
    fails([&] { event->synchronize(kSoon); });
    fails([&] { stream->ops().set_scratch({}); });
    fails([&] { op(); });
    EXPECT_EQ(sim.device->info().name, "sim:0");
    EXPECT_TRUE(sim.device->owns(buffer.data(), 4));
  }
  void expect_all_works() {
    Buffer more = sim.allocate(100);
    op();
    copy();
    synchronize();
    other->synchronize(kSoon);
    EXPECT_EQ(out, 0.6f);
    EXPECT_EQ(sim.device->memory().free_bytes,
              sim.device->memory().total_bytes - 100 - buffer.bytes());
  }
};

TEST_F(Faulty, ThatIsGoneFailsEveryCallUntilItIsBack) {
  for (const char* back : {"gone=0", "heal=1"}) {
    sim.state->apply("gone=1");
    expect_every_call_fails("the device is gone");
    sim.state->apply(back);
    write(*stream, floats(buffer), {3, 4, 5, 6});
    expect_all_works();
  }
}

TEST_F(Faulty, ThatIsGoneGivesItsMemoryBackAllTheSame) {
  sim.state->apply("gone=1");
  buffer = Buffer();
  stream.reset();
  EXPECT_EQ(sim.device->used_bytes(), 0u);
}

TEST_F(Faulty, BreaksAtTheNthOpForGood) {
  for (int n = 1; n <= 3; ++n) {
    sim.state->apply("fail_op=" + std::to_string(n));
    write(*stream, floats(buffer), {3, 4, 5, 6});  // copies do not count
    for (int i = 1; i < n; ++i) {
      op();
      EXPECT_NO_THROW(synchronize());
    }
    op();
    copy();
    out = 0;
    expect_unavailable("l2_normalize broke the device", [&] { synchronize(); });
    EXPECT_EQ(out, 0);
    expect_every_call_fails("the device has failed");
    expect_every_call_fails("the device has failed");
    sim.state->apply("heal=1");
    write(*stream, floats(buffer), {3, 4, 5, 6});
    expect_all_works();
  }
}

TEST_F(Faulty, LosesTheWorkOfAllStreamsAndTellsEach) {
  sim.state->apply("order=fifo,fail_op=1");
  op();
  other->download(&out, buffer.data(), sizeof out);
  const auto last = other->record();
  expect_unavailable("broke the device", [&] { synchronize(); });
  sim.state->apply("heal=1");
  expect_unavailable("the device has failed", [&] { other->synchronize(kSoon); });
  EXPECT_EQ(out, 0);
  EXPECT_NO_THROW(other->synchronize(kSoon));
}

TEST_F(Faulty, ThatHangsFailsWhenTheTimeoutIsOver) {
  sim.state->apply("hang=1");
  copy();
  const auto start = steady_clock::now();
  expect_unavailable("did not end within 50 ms", [&] { stream->synchronize(milliseconds(50)); });
  const auto took = steady_clock::now() - start;
  EXPECT_GE(took, milliseconds(50));
  EXPECT_LT(took, std::chrono::seconds(20));
  // The host's memory may go now: the work does not come back with the device.
  sim.state->apply("hang=0");
  synchronize();
  EXPECT_EQ(out, 0);
  copy();
  synchronize();
  EXPECT_NE(out, 0);
}

TEST_F(Faulty, ThatHangsStillTakesWorkAndMemory) {
  sim.state->apply("hang=1");
  const Buffer more = sim.allocate(100);
  EXPECT_NO_THROW(synchronize());  // nothing to wait for
  copy();
  expect_unavailable("did not end within 0 ms", [&] { stream->synchronize(milliseconds(0)); });
}

TEST_F(Faulty, ThatHangsEndsItsWorkWhenItRecovers) {
  sim.state->apply("hang=1");
  copy();
  std::thread healing([&] {
    std::this_thread::sleep_for(milliseconds(30));
    EXPECT_EQ(out, 0);
    sim.state->apply("heal=1");
  });
  synchronize();
  healing.join();
  EXPECT_NE(out, 0);
}

TEST_F(Faulty, ThatDisappearsWhileSomebodyWaitsTellsHimAtOnce) {
  for (const char* waits_for : {"hang=1", "launch_us=100000000"}) {
    sim.state->apply(waits_for);
    copy();
    std::thread pulling([&] {
      std::this_thread::sleep_for(milliseconds(30));
      sim.state->apply("gone=1");
    });
    const auto start = steady_clock::now();
    expect_unavailable("the device is gone", [&] { synchronize(); });
    EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(20));
    pulling.join();
    sim.state->apply("heal=1,launch_us=0");
    out = 0;
    copy();
    EXPECT_NO_THROW(synchronize());  // the device is not busy with what it has lost
    EXPECT_NE(out, 0);
  }
}

TEST_F(Faulty, ThatHangsEndsTheWaitForAnEventWhenItDisappears) {
  sim.state->apply("hang=1");
  copy();
  const auto copied = stream->record();
  std::thread pulling([&] {
    std::this_thread::sleep_for(milliseconds(30));
    sim.state->apply("gone=1");
  });
  expect_unavailable("the device is gone", [&] { copied->synchronize(kSoon); });
  pulling.join();
}

TEST_F(Faulty, ThatHangsInTheMiddleOfItsWorkFailsWhenTheTimeoutIsOver) {
  sim.state->apply("launch_us=20000");
  copy();
  std::thread pulling([&] { sim.state->apply("hang=1"); });
  expect_unavailable("did not end within 200 ms", [&] {
    pulling.join();
    stream->synchronize(milliseconds(200));
  });
}

}  // namespace
}  // namespace tamis
