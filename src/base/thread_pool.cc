#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace tamis {

// A region is published by raising `generation`; workers that see it take indices from `next` and
// report in `running`. Spinning before sleeping matters: a layer has about eight regions, and
// waking a sleeping thread costs 20-50 us here, more than a small region takes.
struct ThreadPool::State {
  std::mutex turn;  // one region at a time

  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};
  std::atomic<bool> stop{false};

  size_t count = 0;
  const std::function<void(size_t, int)>* task = nullptr;
  std::atomic<size_t> next{0};
  std::atomic<int> running{0};

  std::mutex error_mutex;
  std::exception_ptr error;

  std::vector<std::thread> workers;

  void drain(int thread) {
    try {
      for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) (*task)(i, thread);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  void work(int thread) {
    uint64_t seen = 0;
    while (wait_for_region(seen)) {
      seen = generation.load(std::memory_order_acquire);
      drain(thread);
      running.fetch_sub(1, std::memory_order_release);
    }
  }

  // Returns false when the pool stops.
  bool wait_for_region(uint64_t seen) {
    constexpr auto kSpin = std::chrono::microseconds(100);
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (stop.load(std::memory_order_acquire)) return false;
        if (generation.load(std::memory_order_acquire) != seen) return true;
        pause();
      }
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock lock(sleep_mutex);
    wake.wait(lock, [&] { return stop.load() || generation.load() != seen; });
    return !stop.load();
  }

  static void pause() { __builtin_ia32_pause(); }
};

ThreadPool::ThreadPool(int threads)
    : threads_(std::max(threads, 1)), state_(std::make_unique<State>()) {
  for (int i = 1; i < threads_; ++i) {
    state_->workers.emplace_back([state = state_.get(), i] { state->work(i); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->sleep_mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (auto& worker : state_->workers) worker.join();
}

void ThreadPool::parallel_for(size_t count, const std::function<void(size_t, int)>& task) {
  if (count == 0) return;
  State& s = *state_;
  const std::lock_guard turn(s.turn);
  if (threads_ == 1 || count == 1) {
    for (size_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  s.count = count;
  s.task = &task;
  s.next.store(0, std::memory_order_relaxed);
  s.running.store(threads_ - 1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(s.sleep_mutex);
    s.generation.fetch_add(1, std::memory_order_release);
  }
  s.wake.notify_all();
  s.drain(0);
  for (int spins = 0; s.running.load(std::memory_order_acquire) != 0; ++spins) {
    // With fewer cores than threads the worker needs this one.
    if (spins < 4096) State::pause();
    else std::this_thread::yield();
  }
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

int usable_cores() {
  cpu_set_t set;
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  // cgroup v2: "max 100000" or "<quota> <period>", in microseconds.
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) {
    const double limit = std::strtod(quota.c_str(), nullptr) / period;
    cores = std::min(cores, std::max(1, static_cast<int>(limit + 0.5)));
  }
  return std::max(cores, 1);
}

}  // namespace tamis
