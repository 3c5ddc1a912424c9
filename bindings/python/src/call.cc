#include "call.h"

#include <chrono>
#include <vector>

namespace tamis::python {
namespace {

// A person who presses Ctrl-C is answered within this time.
constexpr std::chrono::milliseconds kSignalCheck{50};

/// What all calls of the process share; never destroyed, for threads may outlive main.
struct Shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool closing = false;
  std::thread::id closer;  ///< which may go on
  size_t coming_back = 0;  ///< threads that wait for the GIL
  std::vector<std::thread> abandoned;
};

Shared& shared() {
  static Shared* const all = new Shared;
  return *all;
}

}  // namespace

WithoutGil::WithoutGil() : state_(PyEval_SaveThread()) {}

WithoutGil::~WithoutGil() {
  Shared& all = shared();
  {
    const std::lock_guard lock(all.mutex);
    if (!all.closing || all.closer == std::this_thread::get_id()) {
      ++all.coming_back;
    } else {
      state_ = nullptr;
    }
  }
  while (state_ == nullptr) std::this_thread::sleep_for(std::chrono::hours(1));
  PyEval_RestoreThread(state_);
  const std::lock_guard lock(all.mutex);
  --all.coming_back;
  all.changed.notify_all();
}

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
      const WithoutGil no_gil;
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
  Shared& all = shared();
  const std::lock_guard lock(all.mutex);
  all.abandoned.push_back(std::move(thread));
}

void close_calls() {
  const WithoutGil no_gil;
  Shared& all = shared();
  std::vector<std::thread> threads;
  {
    std::unique_lock lock(all.mutex);
    all.closing = true;
    all.closer = std::this_thread::get_id();
    all.changed.wait(lock, [&] { return all.coming_back == 0; });
    threads.swap(all.abandoned);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tamis::python
