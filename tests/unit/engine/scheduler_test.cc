// One queue over many replicas: order, turns, out of memory, and devices that fail.

#include <atomic>
#include <chrono>
#include <thread>

#include "engine_fixture.h"

namespace tamis {
namespace {

uint64_t splits(const Reranker& reranker) {
  uint64_t n = 0;
  for (const Placement& p : reranker.placement()) n += p.out_of_memory;
  return n;
}

TEST(Batching, ResultsComeInTheOrderOfThePassagesForAnyBatchAndNumberOfReplicas) {
  const Work work(60);
  const auto want = logits(Reranker::load(small_model()), work);
  for (const char* device : {"cpu", "cpu,cpu,cpu", "sim:0", "sim:0,sim:1,sim:2"}) {
    const Reranker reranker = Reranker::load(small_model(), on(device));
    for (size_t batch_tokens : {1, 40, 333, 100000}) {
      RerankOptions options;
      options.batch_tokens = batch_tokens;
      expect_same(logits(reranker, work, options), want);
    }
  }
}

TEST(Batching, EveryReplicaOfALongCallWorks) {
  auto options = on("sim:0,sim:1", {"launch_us=20", "launch_us=20"});
  options.batch_tokens = 256;
  const Reranker reranker = Reranker::load(small_model(), options);
  const Work work(300);
  logits(reranker, work);
  uint64_t tokens = 0;
  for (const Placement& p : reranker.placement()) {
    EXPECT_GT(p.batches, 1u) << p.device;
    tokens += p.tokens;
  }
  RunStats stats;
  reranker.rerank("what is a tamis", work.passages, {}, &stats);
  EXPECT_EQ(tokens, stats.tokens) << "work was done twice, or not at all";
}

TEST(Batching, AShortCallDoesNotWaitForTheEndOfALongOne) {
  auto options = on("sim:0", {"launch_us=200"});
  const Reranker reranker = Reranker::load(small_model(), options);
  RerankOptions small_batches;
  small_batches.batch_tokens = 100;
  const Work long_work(400), short_work(2);
  std::atomic<bool> long_done{false}, begun{false};
  small_batches.progress = [&](size_t, size_t) { begun = true; };
  std::thread other([&] {
    logits(reranker, long_work, small_batches);
    long_done = true;
  });
  while (!begun) std::this_thread::yield();
  logits(reranker, short_work);
  EXPECT_FALSE(long_done);
  other.join();
}

TEST(Batching, ProgressGoesUpToTheEndAndMayCancel) {
  struct Stop {};
  for (const char* device : {"cpu", "sim:0,sim:1"}) {
    const Reranker reranker = Reranker::load(small_model(), on(device));
    const Work work(50);
    const auto want = logits(reranker, work);
    RerankOptions options;
    options.batch_tokens = 100;
    size_t last = 0;
    options.progress = [&](size_t done, size_t total) {
      EXPECT_GT(done, last);
      EXPECT_EQ(total, work.passages.size());
      last = done;
    };
    logits(reranker, work, options);
    EXPECT_EQ(last, work.passages.size());
    options.progress = [](size_t, size_t) { throw Stop(); };
    EXPECT_THROW(logits(reranker, work, options), Stop);
    expect_same(logits(reranker, work), want, 0);
  }
}

TEST(Batching, ASlowCallbackStillHearsOfTheEnd) {
  const Reranker reranker = Reranker::load(small_model(), on("sim:0"));
  const Work work(4);
  RerankOptions options;
  options.batch_tokens = 1;  // a batch each
  size_t last = 0;
  options.progress = [&](size_t done, size_t) {
    last = done;
    // The other three batches end meanwhile.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (reranker.placement()[0].batches < 4) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit);
      std::this_thread::yield();
    }
  };
  logits(reranker, work, options);
  EXPECT_EQ(last, 4u);
}

class OutOfMemory : public testing::TestWithParam<std::string> {};

/// Room for the weights and batches of `tokens`, and no more.
LoadOptions with_room_for(const std::string& device, size_t tokens) {
  auto options = on(device);
  options.batch_tokens = tokens;
  const MemoryPlan plan = describe_model(small_model(), options).plan;
  options.memory_limit_bytes = plan.weight_bytes + plan.workspace_bytes;
  return options;
}

TEST_P(OutOfMemory, TheBatchIsSplitAndTheSameRequestSucceeds) {
  const Work work(60);
  const auto want = logits(Reranker::load(small_model()), work);
  const Reranker reranker = Reranker::load(small_model(), with_room_for(GetParam(), 150));
  RerankOptions large;
  large.batch_tokens = 2000;
  expect_same(logits(reranker, work, large), want);
  EXPECT_GT(splits(reranker), 0u);
}

TEST_P(OutOfMemory, TheLowerBudgetIsRememberedAndRaisedAgain) {
  const Reranker reranker = Reranker::load(small_model(), with_room_for(GetParam(), 150));
  const Work work(60);
  RerankOptions large;
  large.batch_tokens = 2000;
  logits(reranker, work, large);
  const uint64_t first = splits(reranker);
  EXPECT_LE(reranker.placement()[0].batch_tokens, 150u);
  logits(reranker, Work(5), large);
  EXPECT_EQ(splits(reranker), first) << "the next call ran into the same wall";
  for (int i = 0; i < 40; ++i) {
    logits(reranker, work, large);
    if (kSmaller > 1 && splits(reranker) > first) break;
  }
  EXPECT_GT(splits(reranker), first) << "a larger batch was never tried again";
  EXPECT_LT(splits(reranker), first + 40) << "larger batches are tried too often";
}

TEST_P(OutOfMemory, OnePairThatDoesNotFitIsAnErrorWithTheNumbers) {
  const Reranker reranker = Reranker::load(small_model(), with_room_for(GetParam(), 20));
  const std::string words = "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g";
  const std::vector<std::string_view> longer = {"short", words};
  expect_parts(error_of([&] { reranker.rerank("query", longer); }, ErrorCode::kResourceExhausted),
               {GetParam(), "one sequence of", "tokens", "needs", "limit"});
  EXPECT_NO_THROW(reranker.rerank("q", std::vector<std::string_view>{"short"}));
}

INSTANTIATE_TEST_SUITE_P(Places, OutOfMemory, testing::Values("cpu", "sim:0"),
                         [](const auto& param) {
                           return std::string(param.param == "cpu" ? "cpu" : "sim");
                         });

TEST(OutOfMemoryInjected, AtEveryAllocationOfALoadItFailsCleanlyOrNotAtAll) {
  const Work work(20);
  const auto want = logits(Reranker::load(small_model()), work);
  int failed = 0;
  for (int n = 1; n <= 6; ++n) {
    const auto options = on("sim:0", {"fail_alloc=" + std::to_string(n)});
    try {
      const Reranker reranker = Reranker::load(small_model(), options);
      expect_same(logits(reranker, work), want);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted) << error.what();
      ++failed;
    }
    EXPECT_EQ(options.devices->status("sim:0").used_bytes, 0u) << "leak after allocation " << n;
  }
  EXPECT_GE(failed, 1);
}

TEST(OutOfMemoryInjected, AtEveryAllocationOfARequestTheRequestSucceeds) {
  const auto options = on("sim:0,sim:1", {"", ""});
  Reranker reranker = Reranker::load(small_model(), options);
  const Work work(60);
  const auto want = logits(reranker, work);
  for (const char* fault : {"fail_alloc=1", "fail_alloc=2", "fail_alloc=3"}) {
    for (const char* sim : {"sim:0", "sim:1"}) {
      reranker.place().trim();
      options.devices->describe_sim(sim, fault);
      RerankOptions batches;
      batches.batch_tokens = 300;
      expect_same(logits(reranker, work, batches), want);
      options.devices->describe_sim(sim, "heal=1");
    }
  }
  EXPECT_EQ(reranker.device(), "sim:0,sim:1") << "running out of memory is no reason to retire";
}

TEST(OutOfMemoryInjected, ADeviceWithoutAnyMemoryLeavesItsWorkToTheOthers) {
  const auto options = on("sim:0,sim:1", {"launch_us=50", ""});
  Reranker reranker = Reranker::load(small_model(), options);
  const Work work(40);
  const auto want = logits(reranker, work);
  reranker.place().trim();
  options.devices->describe_sim("sim:1", "fail_alloc_from=1");
  expect_same(logits(reranker, work), want);
  options.devices->describe_sim("sim:0", "fail_alloc_from=1");
  reranker.place().trim();
  error_of([&] { logits(reranker, work); }, ErrorCode::kResourceExhausted);
  options.devices->describe_sim("sim:0", "heal=1");
  options.devices->describe_sim("sim:1", "heal=1");
  expect_same(logits(reranker, work), want);
}

class FailingDevice : public testing::TestWithParam<std::string> {};

TEST_P(FailingDevice, IsRetiredWithItsErrorAndItsWorkRunsElsewhere) {
  auto options = on("sim:0,sim:1,sim:2", {"launch_us=20", "launch_us=20", "launch_us=20"});
  options.device_timeout_ms = 1000;  // for the one that hangs; a busy machine slows the others
  options.batch_tokens = 128;
  std::vector<std::string> notices;
  options.log = [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning) notices.emplace_back(text);
  };
  const Reranker reranker = Reranker::load(small_model(), options);
  const Work work(100);
  const auto want = logits(Reranker::load(small_model()), work);
  options.devices->describe_sim("sim:1", GetParam());
  expect_same(logits(reranker, work), want);
  EXPECT_EQ(reranker.device(), "sim:0,sim:2");
  const auto placement = reranker.placement();
  ASSERT_EQ(placement.size(), 3u);
  EXPECT_TRUE(placement[2].retired);
  EXPECT_EQ(placement[2].device, "sim:1");
  EXPECT_NE(placement[2].error, "");
  ASSERT_EQ(notices.size(), 1u);
  expect_parts(notices[0], {"sim:1", "out of service"});
  expect_same(logits(reranker, work), want);
}

INSTANTIATE_TEST_SUITE_P(Faults, FailingDevice,
                         testing::Values("fail_op=3", "gone=1", "hang=1", "fail_op=40"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '=', '_');
                           return name;
                         });

TEST(FailingDevices, ACallFailsWhenNoneIsLeftAndSaysWhatBecameOfEach) {
  auto options = on("sim:0,sim:1", {"", ""});
  Reranker reranker = Reranker::load(small_model(), options);
  const Work work(30);
  const auto want = logits(reranker, work);
  options.devices->describe_sim("sim:0", "fail_op=2");
  options.devices->describe_sim("sim:1", "gone=1");
  expect_parts(error_of([&] { logits(reranker, work); }, ErrorCode::kUnavailable),
               {"no device is left", "sim:0: ", "sim:1: "});
  error_of([&] { logits(reranker, work); }, ErrorCode::kUnavailable);
  EXPECT_EQ(reranker.device(), "");
  reranker.to("cpu");
  expect_same(logits(reranker, work), want);
  EXPECT_EQ(reranker.placement().size(), 1u);
}

TEST(FailingDevices, ADeviceThatHangsEndsTheCallWithinItsTimeout) {
  auto options = on("sim:0", {""});
  options.device_timeout_ms = 150;
  const Reranker reranker = Reranker::load(small_model(), options);
  options.devices->describe_sim("sim:0", "hang=1");
  const auto start = std::chrono::steady_clock::now();
  expect_parts(error_of([&] { logits(reranker, Work(3)); }, ErrorCode::kUnavailable),
               {"sim:0", "150"});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace tamis
