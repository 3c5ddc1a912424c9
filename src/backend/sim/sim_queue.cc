#include "backend/sim/sim_queue.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/fail.h"

namespace tamis {
namespace {

// How soon a waiting thread notices a fault.
constexpr std::chrono::milliseconds kSlice{2};
// Longer timeouts are none; their end would not fit the clock.
constexpr std::chrono::hours kForever{24 * 365};

bool runnable(const SimLane& lane) {
  return !lane.commands.empty() &&
         (lane.commands.front().wait == nullptr || lane.commands.front().wait->reached);
}

}  // namespace

SimQueue::SimQueue(std::string device, std::shared_ptr<SimState> state)
    : device_(std::move(device)), state_(std::move(state)), seed_(state_->options().seed) {
  random_.seed(seed_);
}

std::shared_ptr<SimLane> SimQueue::open() {
  const Lock lock(mutex_);
  require_alive();
  return lanes_.emplace_back(std::make_shared<SimLane>());
}

void SimQueue::close(const std::shared_ptr<SimLane>& lane) noexcept {
  Lock lock(mutex_);
  settle(lock, *lane);
  std::erase(lanes_, lane);
  changed_.notify_all();
}

void SimQueue::push(SimLane& lane, SimLane::Work work) {
  const Lock lock(mutex_);
  require_alive();
  SimLane::Command command;
  command.work = std::move(work);
  enqueue(lane, std::move(command));
}

std::shared_ptr<SimMark> SimQueue::record(SimLane& lane) {
  const Lock lock(mutex_);
  require_alive();
  auto mark = std::make_shared<SimMark>();
  SimLane::Command command;
  command.record = mark;
  enqueue(lane, std::move(command));
  return mark;
}

void SimQueue::wait(SimLane& lane, const std::shared_ptr<SimMark>& mark) {
  const Lock lock(mutex_);
  require_alive();
  SimLane::Command command;
  command.wait = mark;
  enqueue(lane, std::move(command));
}

void SimQueue::enqueue(SimLane& lane, SimLane::Command command) {
  command.number = ++last_number_;
  if (command.record != nullptr) command.record->number = command.number;
  lane.commands.push_back(std::move(command));
  if (lane.error != nullptr) drop(lane);
}

void SimQueue::synchronize(SimLane& lane, std::chrono::milliseconds timeout) {
  Lock lock(mutex_);
  finish(
      lock, lane, [&] { return lane.commands.empty() && !lane.running; },
      [&] { return lane.done_at; }, timeout);
  if (lane.error != nullptr) std::rethrow_exception(std::exchange(lane.error, nullptr));
}

void SimQueue::synchronize(SimLane& lane, const SimMark& mark, std::chrono::milliseconds timeout) {
  Lock lock(mutex_);
  finish(
      lock, lane, [&] { return mark.reached; }, [&] { return mark.at; }, timeout);
  if (lane.error != nullptr && lane.error_number < mark.number) {
    std::rethrow_exception(std::exchange(lane.error, nullptr));
  }
}

void SimQueue::finish(Lock& lock, SimLane& lane, const std::function<bool()>& reached,
                      const std::function<Clock::time_point()>& end,
                      std::chrono::milliseconds timeout) {
  const Wait wait = wait_for(timeout);
  try {
    require_alive();
    run_until(lock, reached, wait);
    sleep_until(lock, end(), wait);
  } catch (...) {
    settle(lock, lane);
    lane.error = nullptr;
    throw;
  }
}

SimQueue::Wait SimQueue::wait_for(std::chrono::milliseconds timeout) {
  return {timeout, Clock::now() + std::min<std::chrono::milliseconds>(timeout, kForever)};
}

void SimQueue::run_until(Lock& lock, const std::function<bool()>& reached, const Wait& wait) {
  reseed();
  // How long a stream runs before another does is drawn as well: a race may show only if one gets
  // hundreds of commands ahead, or only if they alternate.
  constexpr uint64_t kStay[] = {0, 7, 63, 1023};
  stay_ = kStay[random_() % std::size(kStay)];
  while (!reached()) {
    require_alive();
    const Clock::time_point now = Clock::now();
    if (now >= wait.deadline) fail_timeout(wait);
    if (executing_ || state_->hangs()) {
      changed_.wait_until(lock, std::min(wait.deadline, now + kSlice));
    } else {
      step(lock);
    }
  }
}

void SimQueue::sleep_until(Lock& lock, Clock::time_point until, const Wait& wait) {
  for (Clock::time_point now = Clock::now(); now < until; now = Clock::now()) {
    require_alive();
    if (now >= wait.deadline) fail_timeout(wait);
    if (state_->hangs()) until = std::max(until, now + 2 * kSlice);
    lock.unlock();
    std::this_thread::sleep_until(std::min({until, wait.deadline, now + kSlice}));
    lock.lock();
  }
}

void SimQueue::fail_timeout(const Wait& wait) const {
  fail(ErrorCode::kUnavailable, "{}: the work did not end within {} ms", device_,
       wait.timeout.count());
}

void SimQueue::reseed() {
  const uint64_t seed = state_->options().seed;
  if (seed == seed_) return;
  seed_ = seed;
  random_.seed(seed);
  current_ = nullptr;
}

// Every event is recorded before anybody waits for it, so the oldest command can always run.
std::shared_ptr<SimLane> SimQueue::choose() {
  std::vector<std::shared_ptr<SimLane>> ready;
  for (const auto& lane : lanes_) {
    if (runnable(*lane)) ready.push_back(lane);
  }
  if (ready.empty()) fail(ErrorCode::kInternal, "{}: no stream's work can run", device_);
  if (!state_->options().shuffled) {
    return *std::min_element(ready.begin(), ready.end(), [](const auto& a, const auto& b) {
      return a->commands.front().number < b->commands.front().number;
    });
  }
  const auto at = std::find_if(ready.begin(), ready.end(),
                               [this](const auto& lane) { return lane.get() == current_; });
  if (at != ready.end() && random_() % (stay_ + 1) != 0) return *at;
  return ready[random_() % ready.size()];
}

void SimQueue::step(Lock& lock) {
  const std::shared_ptr<SimLane> lane = choose();
  current_ = lane.get();
  const SimLane::Command command = std::move(lane->commands.front());
  lane->commands.pop_front();
  if (command.record != nullptr) {
    command.record->reached = true;
    command.record->at = lane->done_at;
  } else if (command.wait != nullptr) {
    lane->done_at = std::max(lane->done_at, command.wait->at);
  } else {
    run(lock, *lane, command);
  }
  changed_.notify_all();
}

void SimQueue::run(Lock& lock, SimLane& lane, const SimLane::Command& command) {
  executing_ = lane.running = true;
  lock.unlock();
  const Clock::time_point begin = Clock::now();
  std::chrono::nanoseconds time{0};
  std::exception_ptr error;
  try {
    time = command.work();
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  executing_ = lane.running = false;
  busy_until_ = std::max(begin, busy_until_) + time;
  lane.done_at = busy_until_;
  if (error == nullptr) return;
  lane.error = std::move(error);
  lane.error_number = command.number;
  drop(lane);
  try {
    require_alive();  // the error may be the device's end
  } catch (const Error&) {
    // Each stream that it concerns has it now.
  }
}

// A device that has failed has lost all work and is idle when it recovers; each stream that had any
// work learns it, even if that is later.
void SimQueue::require_alive() {
  try {
    state_->require_alive(device_);
  } catch (const Error& error) {
    busy_until_ = {};
    for (const auto& lane : lanes_) {
      lane->done_at = {};
      if (lane->commands.empty()) continue;
      // A text of its own: another thread will read it.
      lane->error = std::make_exception_ptr(Error(error.code(), std::string(error.what())));
      lane->error_number = lane->commands.front().number;
      drop(*lane);
    }
    changed_.notify_all();
    throw;
  }
}

void SimQueue::drop(SimLane& lane) {
  for (const SimLane::Command& command : lane.commands) {
    if (command.record == nullptr) continue;
    command.record->reached = true;
    command.record->at = lane.done_at;
  }
  lane.commands.clear();
}

// Afterwards nothing of the lane is left and nothing runs.
void SimQueue::settle(Lock& lock, SimLane& lane) {
  drop(lane);
  changed_.wait(lock, [&] { return !lane.running; });
  drop(lane);
}

}  // namespace tamis
