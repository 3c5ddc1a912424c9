// Every byte is counted, watched, bounded, and given back; and a warm model is ready.

#include <atomic>
#include <chrono>
#include <thread>

#include "base/host.h"
#include "engine_fixture.h"

namespace tamis {
namespace {

TEST(MemoryWatch, CountsEveryByteByModelAndPurpose) {
  for (const char* device : {"cpu", "sim:0"}) {
    auto options = on(device);
    options.memory_limit_bytes = size_t{1} << 30;
    std::optional<Reranker> reranker(Reranker::load(small_model(), options));
    logits(*reranker, Work(5));
    const DeviceStatus status = options.devices->status(device);
    ASSERT_EQ(status.models.size(), 1u);
    const ModelMemory& model = status.models[0];
    const MemoryPlan plan = reranker->memory_plan();
    EXPECT_EQ(model.model, "xlmr-ce");
    EXPECT_EQ(model.weight_bytes, plan.weight_bytes);
    EXPECT_EQ(model.workspace_bytes, plan.workspace_bytes);
    EXPECT_EQ(model.reserved_bytes, plan.weight_bytes + plan.workspace_bytes);
    EXPECT_EQ(model.limit_bytes, size_t{1} << 30);
    EXPECT_EQ(status.used_bytes, model.weight_bytes + model.workspace_bytes);
    EXPECT_GE(status.peak_bytes, status.used_bytes);
    EXPECT_TRUE(status.open);
    EXPECT_LE(status.free_bytes, status.total_bytes);
    reranker.reset();
    EXPECT_EQ(options.devices->status(device).used_bytes, 0u);
  }
}

TEST(MemoryWatch, NamesAModelByItsDirectoryHoweverThatIsWritten) {
  for (const char* tail : {"", "/", "/.", "/../xlmr-ce/"}) {
    const auto options = on("cpu");
    const Reranker reranker = Reranker::load(small_model().string() + tail, options);
    EXPECT_EQ(options.devices->status("cpu").models.at(0).model, "xlmr-ce") << tail;
  }
}

TEST(MemoryWatch, CallsBackUntilItIsDestroyed) {
  const Devices devices = *on("cpu", {"memory=1GiB"}).devices;
  std::atomic<int> calls{0};
  {
    const DeviceWatch watch = devices.watch(1, [&](const std::vector<DeviceStatus>& all) {
      EXPECT_EQ(all.front().name, "cpu");
      EXPECT_EQ(all.back().name, "sim:0");
      ++calls;
    });
    while (calls < 3) std::this_thread::yield();
  }
  const int seen = calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(calls, seen);
  error_of([&] { devices.watch(0, {}); }, ErrorCode::kInvalidArgument);
}

TEST(MemoryWatch, ListsADeviceThatHasFailedWithTheReason) {
  const auto options = on("sim:0", {"", ""});
  const Reranker reranker = Reranker::load(small_model(), options);
  options.devices->describe_sim("sim:0", "gone=1");
  const DeviceStatus status = options.devices->status("sim:0");
  EXPECT_FALSE(status.usable);
  EXPECT_NE(status.problem, "");
  EXPECT_TRUE(options.devices->status("sim:1").usable);
  error_of([&] { options.devices->describe_sim("sim:7", "speed=11"); },
           ErrorCode::kInvalidArgument);
  error_of([&] { options.devices->status("sim:7"); }, ErrorCode::kInvalidArgument);
}

TEST(MemoryWatch, TrimGivesTheMemoryOfBatchesBackAndTheNextCallWorks) {
  for (const char* device : {"cpu,cpu", "sim:0"}) {
    const auto options = on(device);
    const Reranker reranker = Reranker::load(small_model(), options);
    const Work work(10);
    const auto want = logits(reranker, work);
    const size_t workspace = reranker.memory_plan().workspace_bytes;
    EXPECT_EQ(reranker.place().trim(), workspace);
    for (const Placement& p : reranker.placement()) EXPECT_EQ(p.workspace_bytes, 0u);
    expect_same(logits(reranker, work), want, 0);
  }
}

class TenThousandRequests : public testing::TestWithParam<std::string> {};

TEST_P(TenThousandRequests, OfVaryingLengthLeaveMemoryFlat) {
  const auto options = on(GetParam());
  const Reranker reranker = Reranker::load(small_model(), options);
  const Work work(64);
  const HostProbe host;
  size_t used = 0, anonymous = 0;
  // Where each thread of a kernel is emulated, a hundredth of them.
  const size_t requests = kSmaller > 1 ? 100 : 10'000, texts = work.passages.size();
  for (size_t i = 0; i < requests; ++i) {
    const auto some = std::span(work.passages).subspan(i * 7 % (texts - 4), 1 + i % 4);
    reranker.rerank(work.passages[i % texts], some);
    if (i == requests / 10) {
      used = options.devices->status(GetParam()).used_bytes;
      anonymous = host.memory().process_anonymous_bytes;
    }
  }
  EXPECT_EQ(options.devices->status(GetParam()).used_bytes, used);
  if (TAMIS_SANITIZED) return;  // sanitizers keep what was freed, to recognise its use
  // The allocator's own arenas may settle; growth by request would be megabytes.
  EXPECT_LT(host.memory().process_anonymous_bytes, anonymous + (size_t{4} << 20));
}

INSTANTIATE_TEST_SUITE_P(Places, TenThousandRequests, testing::Values("cpu", "sim:0"),
                         [](const auto& param) {
                           return std::string(param.param == "cpu" ? "cpu" : "sim");
                         });

TEST(WarmUp, RunsTheShapesThatItIsGivenOnEveryReplica) {
  const Reranker reranker = Reranker::load(small_model(), on("cpu,sim:0"));
  WarmupOptions options;
  options.shapes = {{1, 20}, {4, 50}};
  const auto results = reranker.place().warmup(options);
  ASSERT_EQ(results.size(), 4u);
  for (const WarmupResult& r : results) {
    EXPECT_FALSE(r.skipped);
    EXPECT_EQ(r.error, "");
    EXPECT_GT(r.first_ms, 0);
    EXPECT_GT(r.second_ms, 0);
  }
  EXPECT_EQ(results[0].device, "cpu");
  EXPECT_EQ(results[3].device, "sim:0");
  EXPECT_EQ(results[3].shape.tokens, 50u);
}

TEST(WarmUp, TakesTheShapesSeenOrSensibleOnes) {
  const Reranker reranker = Reranker::load(small_model(), on("cpu"));
  EXPECT_EQ(reranker.place().warmup().size(), 2u);
  logits(reranker, Work(7));
  const auto seen = reranker.place().warmup();
  EXPECT_GE(seen.size(), 2u);
  for (const WarmupResult& r : seen) EXPECT_LE(r.shape.sequences, 7u);
}

TEST(WarmUp, IsBoundedInTimeAndTellsWhatFailed) {
  const auto options = on("sim:0", {"launch_us=20000"});
  const Reranker reranker = Reranker::load(small_model(), options);
  WarmupOptions bounded;
  bounded.limit_ms = 30;  // enough to begin the first on a busy machine, less than one takes
  bounded.shapes = {{1, 10}, {1, 20}, {1, 30}};
  const auto results = reranker.place().warmup(bounded);
  EXPECT_FALSE(results[0].skipped);
  EXPECT_TRUE(results[1].skipped);
  EXPECT_TRUE(results[2].skipped);
  options.devices->describe_sim("sim:0", "gone=1");
  EXPECT_NE(reranker.place().warmup()[0].error, "");
}

}  // namespace
}  // namespace tamis
