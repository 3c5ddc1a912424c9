// Moving a model while it works.

#include <atomic>
#include <thread>

#include "engine_fixture.h"

namespace tamis {
namespace {

/// Threads that rerank without a pause, and what they saw.
class Load {
 public:
  Load(const Reranker& reranker, int threads) : want_(logits(reranker, work_)) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, &reranker] {
        while (!stop_) {
          try {
            const auto got = logits(reranker, work_);
            for (size_t k = 0; k < got.size(); ++k) {
              if (!(std::abs(got[k] - want_[k]) <= 1e-5f)) ++wrong_;
            }
            ++done_;
          } catch (const Error&) {
            ++failed_;
          }
        }
      });
    }
  }
  ~Load() { finish(); }
  void finish() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  void wait_for(int more) const {
    for (const int until = done_ + more; done_ < until;) std::this_thread::yield();
  }
  int done() const { return done_; }
  int failed() const { return failed_; }
  int wrong() const { return wrong_; }

 private:
  Work work_{12};
  std::vector<float> want_;
  std::atomic<bool> stop_{false};
  std::atomic<int> done_{0}, failed_{0}, wrong_{0};
  std::vector<std::thread> threads_;
};

TEST(Move, UnderLoadLosesNothing) {
  Reranker reranker = Reranker::load(small_model(), on("cpu", {"", ""}));
  Load load(reranker, 3);
  for (const char* place : {"sim:0", "cpu,cpu", "sim:0,sim:1", "cpu", "sim:1", "ref", "cpu"}) {
    load.wait_for(2);
    EXPECT_EQ(reranker.to(place).pause_ms, 0) << place;
    EXPECT_EQ(reranker.device(), place);
  }
  load.wait_for(2);
  load.finish();
  EXPECT_EQ(load.failed(), 0);
  EXPECT_EQ(load.wrong(), 0);
}

/// sim:0 with room for the model once.
LoadOptions full_device() {
  auto options = on("sim:0");
  const MemoryPlan plan = describe_model(small_model(), options).plan;
  // And a little, for what a device rounds up.
  const size_t bytes = plan.weight_bytes + plan.workspace_bytes + 4096;
  options.devices->describe_sim("sim:0", "memory=" + std::to_string(bytes));
  return options;
}

TEST(Move, WhereThereIsNoRoomForBothTheCallsWaitAndThePauseIsTold) {
  Reranker reranker = Reranker::load(small_model(), full_device());
  Load load(reranker, 2);
  for (const char* dtype : {"f16", "bf16", "f32"}) {
    load.wait_for(1);
    MoveOptions other;
    other.dtype = dtype;
    EXPECT_GT(reranker.place().to("sim:0", other).pause_ms, 0) << dtype;
    EXPECT_EQ(reranker.placement()[0].dtype, dtype);
    MoveOptions back;
    back.dtype = "f32";  // Load compares with what f32 gave
    EXPECT_GT(reranker.place().to("sim:0,cpu", back).load_ms, 0);
  }
  load.finish();
  EXPECT_EQ(load.failed(), 0);
}

TEST(Move, ThatFailsAfterTheOldReplicasWereFreedGoesBack) {
  const auto options = full_device();
  Reranker reranker = Reranker::load(small_model(), options);
  const Work work(10);
  const auto want = logits(reranker, work);
  options.devices->describe_sim("sim:0", "fail_alloc=1");
  MoveOptions half;
  half.dtype = "f16";
  error_of([&] { reranker.place().to("sim:0", half); }, ErrorCode::kResourceExhausted);
  EXPECT_EQ(reranker.placement()[0].dtype, "f32");
  expect_same(logits(reranker, work), want, 0);
}

TEST(Move, ThatFailsLeavesTheOldLimit) {
  const auto options = on("sim:0", {"", ""});
  Reranker reranker = Reranker::load(small_model(), options);
  options.devices->describe_sim("sim:1", "fail_alloc=1");
  MoveOptions limited;
  limited.memory_limit_bytes = size_t{1} << 30;
  error_of([&] { reranker.place().to("sim:0,sim:1", limited); }, ErrorCode::kResourceExhausted);
  EXPECT_EQ(options.devices->status("sim:0").models.at(0).limit_bytes, 0u);
  reranker.place().to("sim:0,sim:1", limited);
  EXPECT_EQ(options.devices->status("sim:0").models.at(0).limit_bytes, size_t{1} << 30);
}

TEST(Move, TwoAtOnceTakeTurns) {
  Reranker reranker = Reranker::load(small_model(), on("cpu", {"", ""}));
  Load load(reranker, 1);
  std::vector<std::thread> movers;
  for (const char* place : {"sim:0", "sim:1", "cpu"}) {
    movers.emplace_back([&reranker, place] {
      for (int i = 0; i < 4; ++i) EXPECT_EQ(reranker.to(place).to, place);
    });
  }
  for (auto& mover : movers) mover.join();
  load.wait_for(1);
  load.finish();
  EXPECT_EQ(load.failed(), 0);
  EXPECT_EQ(load.wrong(), 0);
  EXPECT_EQ(reranker.placement().size(), 1u);
}

TEST(Move, FromDevicesThatDieUnderLoadToTheCpuRescuesTheModel) {
  const auto options = on("sim:0", {""});
  Reranker reranker = Reranker::load(small_model(), options);
  Load load(reranker, 2);
  load.wait_for(2);
  options.devices->describe_sim("sim:0", "gone=1");
  while (load.failed() == 0) std::this_thread::yield();
  reranker.to("cpu");
  load.wait_for(3);
  load.finish();
  EXPECT_EQ(load.wrong(), 0);
}

TEST(Destruction, UnderLoadLetsTheCallsEnd) {
  for (const char* device : {"cpu,cpu", "sim:0,sim:1"}) {
    auto reranker = std::make_unique<Reranker>(
        Reranker::load(small_model(), on(device, {"launch_us=20", "launch_us=20"})));
    const Work work(60);
    std::atomic<int> begun{0}, done{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, r = reranker.get()] {
        RerankOptions options;
        options.batch_tokens = 60;
        bool first = true;
        options.progress = [&](size_t, size_t) {
          if (std::exchange(first, false)) ++begun;
        };
        logits(*r, work, options);
        ++done;
      });
    }
    while (begun < 3) std::this_thread::yield();
    reranker.reset();
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(done, 3) << device;
  }
}

}  // namespace
}  // namespace tamis
