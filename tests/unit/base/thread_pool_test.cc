#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/host.h"

namespace tamis {
namespace {

class Pools : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, Pools, ::testing::Range(1, 6));

TEST_P(Pools, EveryIndexOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const size_t count : {0, 1, 2, 3, 7, 100, 1000}) {
    std::vector<std::atomic<int>> calls(count);
    std::atomic<bool> thread_ok{true};
    pool.parallel_for(count, [&](size_t i, int thread) {
      ++calls[i];
      if (thread < 0 || thread >= GetParam()) thread_ok = false;
    });
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(calls[i], 1) << i << " of " << count;
    EXPECT_TRUE(thread_ok);
  }
}

// Plain variables on purpose: what a region wrote must be seen after it, and by the next one.
TEST_P(Pools, ManyShortRegionsInARow) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(17, 0);
  for (int64_t round = 0; round < 20'000; ++round) {
    const size_t count = 1 + static_cast<size_t>(round) % values.size();
    pool.parallel_for(count, [&](size_t i, int) { values[i] += round; });
  }
  std::vector<int64_t> expected(17, 0);
  for (int64_t round = 0; round < 20'000; ++round) {
    for (size_t i = 0; i <= static_cast<size_t>(round) % 17; ++i) expected[i] += round;
  }
  EXPECT_EQ(values, expected);
}

// A thread's number is its own while a task runs: scratch memory is kept by it.
TEST_P(Pools, AThreadNumberIsNeverUsedTwiceAtOnce) {
  ThreadPool pool(GetParam());
  std::vector<int> scratch(static_cast<size_t>(GetParam()), 0);
  for (int round = 0; round < 300; ++round) {
    pool.parallel_for(50, [&](size_t, int thread) { ++scratch[static_cast<size_t>(thread)]; });
  }
  EXPECT_EQ(std::accumulate(scratch.begin(), scratch.end(), 0), 300 * 50);
}

// Workers fall asleep after 100 us; each region here finds them so.
TEST_P(Pools, SleepingWorkersWakeUp) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 30; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (round % 4)));
    std::set<std::thread::id> who;
    std::mutex mutex;
    std::atomic<int> arrived{0};
    // As many tasks as threads, each of which waits for all: this ends only if all take part.
    pool.parallel_for(static_cast<size_t>(GetParam()), [&](size_t, int) {
      ++arrived;
      while (arrived < GetParam()) std::this_thread::yield();
      const std::lock_guard lock(mutex);
      who.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(who.size(), static_cast<size_t>(GetParam()));
  }
}

TEST_P(Pools, TheFirstExceptionComesBackAndThePoolLives) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 200; ++round) {
    std::atomic<size_t> calls{0};
    try {
      pool.parallel_for(1000, [&](size_t i, int) {
        ++calls;
        if (i >= 3) throw std::runtime_error("task " + std::to_string(i));
      });
      FAIL() << "no exception";
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(std::string(e.what()).substr(0, 5), "task ");
    }
    EXPECT_LE(calls, 3u + static_cast<size_t>(GetParam()));  // the rest was dropped
    std::atomic<size_t> after{0};
    pool.parallel_for(10, [&](size_t, int) { ++after; });
    EXPECT_EQ(after, 10u);
  }
}

TEST_P(Pools, ExceptionsOfAnyTypeAndOfTheLastTask) {
  ThreadPool pool(GetParam());
  EXPECT_THROW(pool.parallel_for(1, [](size_t, int) { throw 7; }), int);
  EXPECT_THROW(pool.parallel_for(8,
                                 [](size_t i, int) {
                                   if (i == 7) throw 7;
                                 }),
               int);
}

// Plain counters again: two regions at once would lose additions, and TSan would say so.
TEST_P(Pools, ConcurrentCallersTakeTurns) {
  ThreadPool pool(GetParam());
  constexpr int kCallers = 4;
  constexpr int kRounds = 300;
  std::vector<int> per_index(20, 0);
  std::vector<std::thread> callers;
  for (int c = 0; c < kCallers; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        pool.parallel_for(per_index.size(), [&](size_t i, int) { ++per_index[i]; });
      }
    });
  }
  for (auto& caller : callers) caller.join();
  for (const int calls : per_index) EXPECT_EQ(calls, kCallers * kRounds);
}

TEST_P(Pools, DestroyedAtAnyMoment) {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(GetParam());
    if (round % 3 == 0) continue;  // before the workers have begun
    std::atomic<size_t> calls{0};
    pool.parallel_for(3, [&](size_t, int) { ++calls; });
    EXPECT_EQ(calls, 3u);
    if (round % 3 == 1) std::this_thread::sleep_for(std::chrono::microseconds(150));
  }
}

TEST(ThreadPool, AtLeastOneThread) {
  ThreadPool pool(0);
  EXPECT_EQ(pool.threads(), 1);
}

// Every worker takes part, and says on which core it does.
std::vector<std::set<int>> cores_seen(ThreadPool& pool) {
  std::vector<std::set<int>> seen(static_cast<size_t>(pool.threads()));
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> arrived{0};
    pool.parallel_for(seen.size(), [&](size_t, int thread) {
      ++arrived;
      while (arrived < pool.threads()) std::this_thread::yield();
      seen[static_cast<size_t>(thread)].insert(sched_getcpu());
    });
  }
  return seen;
}

TEST(ThreadPool, WorkersStayOnTheirCores) {
  const std::vector<int> usable = HostProbe().cores();
  // In reverse, so that the order counts.
  const std::vector<int> cores(usable.rbegin(), usable.rend());
  const std::vector<int> before = HostProbe().cores();
  ThreadPool pool(3, cores);
  const auto seen = cores_seen(pool);
  for (size_t i = 1; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i], std::set<int>{cores[i % cores.size()]}) << "worker " << i;
  }
  EXPECT_EQ(HostProbe().cores(), before) << "the caller was pinned";
}

TEST(ThreadPool, CoresThatAreNotThereDoNotStopIt) {
  ThreadPool pool(3, {-1, 40'000, 1 << 30});
  const auto seen = cores_seen(pool);
  for (const auto& cores : seen) EXPECT_FALSE(cores.empty());
}

}  // namespace
}  // namespace tamis
