#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tamis::server {

/// Threads that run tasks in the order in which they came; started when they are needed.
class Workers {
 public:
  explicit Workers(size_t most) : most_(most) {}
  /// Runs what is queued, then ends.
  ~Workers();

  /// A task must not throw. Errors: resource_exhausted (no thread at all can be started).
  void run(std::function<void()> task);

 private:
  void work();

  size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  size_t idle_ = 0;
  bool leaving_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tamis::server
