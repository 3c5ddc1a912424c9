#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace tamis {

/// A fork-join pool. One region runs at a time; the caller is thread 0 and takes part.
/// Thread rule: parallel_for may be called from many threads, they take turns; a task must not
/// call back into its own pool.
class ThreadPool {
 public:
  /// threads >= 1, the caller included. Idle workers spin for some microseconds, then sleep.
  /// With `cores`, worker i runs on core cores[i % n] only, if the system lets it; thread 0 is the
  /// caller's own and stays as it is, so cores[0] is left to it as long as there are enough.
  /// Errors: resource_exhausted when the system gives no more threads.
  explicit ThreadPool(int threads, std::vector<int> cores = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Calls task(i, thread) for every i in [0, count), each exactly once, handed out in order to
  /// whichever thread is free. 0 <= thread < threads(). The first exception is re-thrown here,
  /// after all running tasks have ended; tasks not yet begun are dropped. A thread that wakes up
  /// too late takes no part, so the caller may do all of a short region alone.
  void parallel_for(size_t count, const std::function<void(size_t, int)>& task);

 private:
  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace tamis
