#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "base/fail.h"
#include "train/collective.h"

namespace tamis::training {
namespace {

/// Where threads meet: each gives something, and all see what all gave.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size), given_(static_cast<size_t>(size)) {}

  enum class Call { kGather, kSum };

  std::vector<std::vector<std::byte>> exchange(Call call, int rank,
                                               std::span<const std::byte> mine) {
    std::unique_lock lock(mutex_);
    // Nobody gives for the next meeting before all have left this one.
    wait(lock, [&] { return !leaving_; });
    if (inside_ == 0) call_ = call;
    if (call_ != call) fail(ErrorCode::kInternal, "the devices of a run do not make the same call");
    given_[static_cast<size_t>(rank)].assign(mine.begin(), mine.end());
    if (++inside_ == size_) {
      leaving_ = true;
      changed_.notify_all();
    }
    wait(lock, [&] { return leaving_; });
    auto out = given_;
    if (--inside_ == 0) {
      leaving_ = false;
      changed_.notify_all();
    }
    return out;
  }
  void fail_with(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }
  std::exception_ptr error() const { return error_; }

 private:
  template <class Condition>
  void wait(std::unique_lock<std::mutex>& lock, const Condition& condition) {
    changed_.wait(lock, [&] { return error_ || condition(); });
    if (error_) fail(ErrorCode::kUnavailable, "another device of the run has ended with an error");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int size_;
  int inside_ = 0;
  bool leaving_ = false;
  Call call_ = Call::kGather;
  std::vector<std::vector<std::byte>> given_;
  std::exception_ptr error_;
};

class ThreadRank : public Collective {
 public:
  ThreadRank(Meeting& meeting, int rank, int size) : meeting_(meeting), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override {
    return meeting_.exchange(Meeting::Call::kGather, rank_, mine);
  }
  void sum(std::span<float> x) override {
    const auto all = meeting_.exchange(Meeting::Call::kSum, rank_, std::as_bytes(x));
    for (size_t r = 0; r < all.size(); ++r) {
      if (all[r].size() != x.size_bytes()) {
        fail(ErrorCode::kInternal, "device {} of the run adds {} bytes, device {} adds {}", r,
             all[r].size(), rank_, x.size_bytes());
      }
      const auto* values = reinterpret_cast<const float*>(all[r].data());
      for (size_t i = 0; i < x.size(); ++i) x[i] = r == 0 ? values[i] : x[i] + values[i];
    }
  }

 private:
  Meeting& meeting_;
  int rank_, size_;
};

}  // namespace

void run_on_threads(int size, const std::function<void(const std::shared_ptr<Collective>&)>& f) {
  Meeting meeting(size);
  const auto one = [&](int rank) {
    try {
      f(std::make_shared<ThreadRank>(meeting, rank, size));
    } catch (...) {
      meeting.fail_with(std::current_exception());
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (int rank = 1; rank < size; ++rank) others.emplace_back(one, rank);
      one(0);
    } catch (...) {  // no thread is to be had: those that there are must not wait for it
      meeting.fail_with(std::current_exception());
    }
  }
  if (meeting.error()) std::rethrow_exception(meeting.error());
}

}  // namespace tamis::training
