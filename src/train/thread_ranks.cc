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

  std::vector<std::vector<std::byte>> exchange(int rank, std::span<const std::byte> mine) {
    std::unique_lock lock(mutex_);
    // Nobody gives for the next meeting before all have left this one.
    wait(lock, [&] { return !leaving_; });
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
  std::vector<std::vector<std::byte>> given_;
  std::exception_ptr error_;
};

class ThreadRank : public Collective {
 public:
  ThreadRank(Meeting& meeting, int rank, int size) : meeting_(meeting), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override {
    return meeting_.exchange(rank_, mine);
  }
  void sum(std::span<float> x) override {
    const auto all = gather_values<float>(*this, x);
    for (size_t r = 0; r < all.size(); ++r) {
      if (all[r].size() != x.size()) {
        fail(ErrorCode::kInternal, "device {} of the run adds {} numbers, device {} adds {}", r,
             all[r].size(), rank_, x.size());
      }
      for (size_t i = 0; i < x.size(); ++i) x[i] = r == 0 ? all[r][i] : x[i] + all[r][i];
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
    for (int rank = 1; rank < size; ++rank) others.emplace_back(one, rank);
    one(0);
  }
  if (meeting.error()) std::rethrow_exception(meeting.error());
}

}  // namespace tamis::training
