#pragma once

// Long calls from Python: without the GIL, with progress, and left at once on Ctrl-C.

#include <nanobind/nanobind.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "tamis/error.h"
#include "tamis/types.h"

namespace tamis::python {

namespace nb = nanobind;

/// Without the GIL, for as long as this lives. Unlike nanobind's own it never comes back into an
/// interpreter that is ending: Python would end the thread by unwinding it, which no C++ frame
/// survives. Such a thread, a daemon's, sleeps until the process is gone.
class WithoutGil {
 public:
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

/// Between the caller's thread and the one that works for it.
class CallState {
 public:
  /// Of the working thread. Errors: cancelled.
  void report(size_t done, size_t total);
  void finish();
  /// Of the caller's thread, which has the GIL: returns when the work is done. Calls `progress`
  /// unless it is None. Python errors of it, and those of signals, cancel the work.
  void wait(const nb::object& progress);
  void cancel() { cancelled_ = true; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> cancelled_ = false;
  bool finished_ = false;
  bool news_ = false;
  size_t done_ = 0, total_ = 0;
};

/// Keeps the thread of a call that was left; it ends with its batch. Joined at exit.
void abandon(std::thread thread);
/// At exit, by the thread that ends the interpreter: from here on no other one gets the GIL back.
void close_calls();

/// Runs work(progress), which must own all that it uses and touch nothing of Python's.
template <class Work>
auto run_call(const nb::object& progress, Work work) {
  auto state = std::make_shared<CallState>();
  std::packaged_task<std::invoke_result_t<Work, const Progress&>()> task(
      [state, work = std::move(work)]() mutable {
        struct AtEnd {
          CallState& state;
          ~AtEnd() { state.finish(); }
        } at_end{*state};
        return work([state](size_t done, size_t total) { state->report(done, total); });
      });
  auto result = task.get_future();
  std::thread thread(std::move(task));
  try {
    state->wait(progress);
  } catch (...) {
    state->cancel();
    abandon(std::move(thread));
    throw;
  }
  {
    const WithoutGil no_gil;
    thread.join();
  }
  return result.get();
}

}  // namespace tamis::python
