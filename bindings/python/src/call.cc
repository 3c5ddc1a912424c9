#include "call.h"

#include <chrono>
#include <vector>

namespace tamis::python {
namespace {

// A person who presses Ctrl-C is answered within this time.
constexpr std::chrono::milliseconds kSignalCheck{50};

struct Abandoned {
  std::mutex mutex;
  std::vector<std::thread> threads;
};

Abandoned& abandoned() {
  static Abandoned all;
  return all;
}

}  // namespace

void CallState::report(size_t done, size_t total) {
  if (cancelled_) throw Error(ErrorCode::kCancelled, "the call was cancelled");
  const std::lock_guard lock(mutex_);
  done_ = done;
  total_ = total;
  news_ = true;
  changed_.notify_all();
}

void CallState::finish() {
  const std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

void CallState::wait(const nb::object& progress) {
  for (;;) {
    size_t done = 0, total = 0;
    bool news = false, finished = false;
    {
      const nb::gil_scoped_release no_gil;
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kSignalCheck, [&] { return finished_ || news_; });
      finished = finished_;
      news = std::exchange(news_, false);
      done = done_;
      total = total_;
    }
    if (news && !progress.is_none()) progress(done, total);
    if (finished) return;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

void abandon(std::thread thread) {
  Abandoned& all = abandoned();
  const std::lock_guard lock(all.mutex);
  all.threads.push_back(std::move(thread));
}

void join_abandoned() {
  const nb::gil_scoped_release no_gil;
  Abandoned& all = abandoned();
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(all.mutex);
    threads.swap(all.threads);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tamis::python
