#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "backend/sim/sim_state.h"

namespace tamis {

/// A point in a lane's work: an event.
struct SimMark {
  uint64_t number = 0;
  bool reached = false;
  std::chrono::steady_clock::time_point at;  ///< when, once it is reached
};

/// The work of one stream. All of it belongs to the SimQueue and its mutex.
struct SimLane {
  using Work = std::function<std::chrono::nanoseconds()>;
  struct Command {
    uint64_t number = 0;
    Work work;  ///< or one of the two:
    std::shared_ptr<SimMark> record;
    std::shared_ptr<SimMark> wait;
  };
  std::deque<Command> commands;
  bool running = false;       ///< a command has left `commands` and has not ended
  std::exception_ptr error;   ///< until somebody has been told, new commands are dropped
  uint64_t error_number = 0;  ///< the command that it comes from
  std::chrono::steady_clock::time_point done_at;
};

/// The work of all streams of a simulated accelerator. Nothing runs until somebody synchronizes:
/// then that thread runs commands of any stream, one after the other, chosen at random within what
/// record and wait allow, until its own are done; two such threads take turns.
/// Time is simulated apart from the work: each command occupies the device for as long as it says,
/// and whoever synchronizes sleeps until his own commands would have ended.
/// Thread rule: every function may be called from any thread; on one lane, one thread at a time.
class SimQueue {
 public:
  SimQueue(std::string device, std::shared_ptr<SimState> state);

  std::shared_ptr<SimLane> open();
  /// Drops what has not run; events recorded there count as reached.
  void close(const std::shared_ptr<SimLane>& lane) noexcept;

  /// work returns how long it takes. Errors of these three: unavailable.
  void push(SimLane& lane, SimLane::Work work);
  std::shared_ptr<SimMark> record(SimLane& lane);
  void wait(SimLane& lane, const std::shared_ptr<SimMark>& mark);

  /// Throws the error of the lane's work. Throws unavailable if the timeout is over or the device
  /// has failed; then no command of the lane is left, so that the host's memory may go.
  void synchronize(SimLane& lane, std::chrono::milliseconds timeout);
  /// The same up to the mark, which is of this lane.
  void synchronize(SimLane& lane, const SimMark& mark, std::chrono::milliseconds timeout);

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;
  struct Wait {
    std::chrono::milliseconds timeout;
    Clock::time_point deadline;
  };

  static Wait wait_for(std::chrono::milliseconds timeout);
  void enqueue(SimLane& lane, SimLane::Command command);
  void finish(Lock& lock, SimLane& lane, const std::function<bool()>& reached,
              const std::function<Clock::time_point()>& end, std::chrono::milliseconds timeout);
  void run_until(Lock& lock, const std::function<bool()>& reached, const Wait& wait);
  void sleep_until(Lock& lock, Clock::time_point until, const Wait& wait);
  [[noreturn]] void fail_timeout(const Wait& wait) const;
  std::shared_ptr<SimLane> choose();
  void reseed();
  void step(Lock& lock);
  void run(Lock& lock, SimLane& lane, const SimLane::Command& command);
  void require_alive();
  static void drop(SimLane& lane);
  void settle(Lock& lock, SimLane& lane);

  const std::string device_;
  const std::shared_ptr<SimState> state_;
  std::mutex mutex_;
  std::condition_variable changed_;  // a command has ended
  std::vector<std::shared_ptr<SimLane>> lanes_;
  uint64_t last_number_ = 0;
  bool executing_ = false;
  Clock::time_point busy_until_;
  uint64_t seed_ = 0;
  std::mt19937_64 random_;
  uint64_t stay_ = 0;                 // one in stay_ + 1 commands is of a stream newly drawn
  const SimLane* current_ = nullptr;  // only compared
};

}  // namespace tamis
