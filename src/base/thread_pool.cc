#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/host.h"

namespace tamis {

// A region is published by giving `region` the next generation and the open bit. A worker that sees
// it in time enters, takes indices from `next` and leaves; the caller does the same, and once no
// index is left it closes the region and waits for those inside. Who comes too late is not waited
// for: waking a sleeping thread can take longer than a small region does. Spinning
// before sleeping matters for the same reason: a layer has about eight regions.
struct ThreadPool::State {
  static constexpr uint64_t kInside = (uint64_t{1} << 31) - 1;  // how many workers are in it
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr int kGenerationShift = 32;

  std::mutex turn;  // one region at a time

  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> region{0};  // generation, open bit, workers inside
  std::atomic<bool> stop{false};

  // Written only while the region is closed and nobody is inside.
  size_t count = 0;
  const std::function<void(size_t, int)>* task = nullptr;
  std::atomic<size_t> next{0};

  std::mutex error_mutex;
  std::exception_ptr error;

  std::vector<std::thread> workers;

  void open_region(size_t n, const std::function<void(size_t, int)>& work_item) {
    count = n;
    task = &work_item;
    next.store(0, std::memory_order_relaxed);
    const uint64_t generation = (region.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
    {
      // Under the mutex, so that no worker falls asleep between its last look and this store.
      const std::lock_guard lock(sleep_mutex);
      region.store(generation << kGenerationShift | kOpen, std::memory_order_release);
    }
    wake.notify_all();
  }

  void close_region() {
    region.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; (region.load(std::memory_order_acquire) & kInside) != 0; ++spins) {
      // With fewer cores than threads the worker needs this one.
      if (spins < 4096) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

  // Returns false if the region is closed. Sets `seen` to its generation.
  bool enter_region(uint64_t& seen) {
    uint64_t now = region.load(std::memory_order_relaxed);
    do {
      seen = now >> kGenerationShift;
      if ((now & kOpen) == 0) return false;
    } while (!region.compare_exchange_weak(now, now + 1, std::memory_order_acquire,
                                           std::memory_order_relaxed));
    return true;
  }

  void drain(int thread) {
    try {
      for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;)
        (*task)(i, thread);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  void work(int thread) {
    uint64_t seen = 0;
    while (wait_for_region(seen)) {
      if (!enter_region(seen)) continue;
      drain(thread);
      region.fetch_sub(1, std::memory_order_release);
    }
  }

  bool is_new(uint64_t seen) const {
    return region.load(std::memory_order_relaxed) >> kGenerationShift != seen;
  }

  // Returns false when the pool stops.
  bool wait_for_region(uint64_t seen) {
    constexpr auto kSpin = std::chrono::microseconds(100);
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (stop.load(std::memory_order_relaxed)) return false;
        if (is_new(seen)) return true;
        pause();
      }
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock lock(sleep_mutex);
    wake.wait(lock, [&] { return stop.load(std::memory_order_relaxed) || is_new(seen); });
    return !stop.load(std::memory_order_relaxed);
  }

  void stop_workers() {
    {
      const std::lock_guard lock(sleep_mutex);
      stop = true;
    }
    wake.notify_all();
    for (auto& worker : workers) worker.join();
  }

  static void pause() { __builtin_ia32_pause(); }
};

ThreadPool::ThreadPool(int threads, std::vector<int> cores)
    : threads_(std::max(threads, 1)), state_(std::make_unique<State>()) {
  try {
    state_->workers.reserve(static_cast<size_t>(threads_));
    for (int i = 1; i < threads_; ++i) {
      std::vector<int> core;
      if (!cores.empty()) core.push_back(cores[static_cast<size_t>(i) % cores.size()]);
      state_->workers.emplace_back([state = state_.get(), i, core = std::move(core)] {
        pin_this_thread(core);  // a pool whose cores were taken away still computes
        state->work(i);
      });
    }
  } catch (const std::system_error& e) {
    // A thread that is never joined would end the process.
    state_->stop_workers();
    fail(ErrorCode::kResourceExhausted, "cannot start a pool of {} threads: {}", threads_,
         e.what());
  }
}

ThreadPool::~ThreadPool() { state_->stop_workers(); }

void ThreadPool::parallel_for(size_t count, const std::function<void(size_t, int)>& task) {
  if (count == 0) return;
  State& s = *state_;
  const std::lock_guard turn(s.turn);
  if (threads_ == 1 || count == 1) {
    for (size_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  s.open_region(count, task);
  s.drain(0);
  s.close_region();
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace tamis
