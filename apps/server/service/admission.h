#pragma once

// Who is let in: so much work, and so many requests of one address.

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace tamis::server {

struct WorkLimits {
  size_t requests = 512;
  size_t tokens = 0;  ///< 0 = what takes max_wait_ms at the speed measured
  int max_wait_ms = 10'000;
};

/// Work that was let in and is not done, in tokens. Nobody knows the tokens of a request before it
/// is tokenised, so they are estimated from its bytes, at the ratio of the requests so far.
///
/// One request counts at most an eighth of the limit, for the queue lets short ones past it: a
/// large one does not shut the door, and none is too large for it.
/// Thread rule: any thread.
class WorkAdmission {
 public:
  using Clock = std::chrono::steady_clock;

  explicit WorkAdmission(const WorkLimits& limits);
  void set_limits(const WorkLimits& limits);

  struct Refusal {
    double retry_after_s = 1;
    size_t waiting_tokens = 0, most_tokens = 0;
    bool too_many_requests = false;  ///< not too many tokens
  };
  /// A place, given back when the last copy of the pointer goes; null: refused.
  std::shared_ptr<void> enter(size_t body_bytes, Refusal& refusal);
  /// What a request turned out to be, to estimate the next ones better.
  void learn(size_t body_bytes, size_t tokens);
  /// Tokens a second that the models do, as measured; for the limit and Retry-After.
  void set_speed(double tokens_per_s);

  size_t waiting_tokens() const;
  size_t most_tokens() const;

 private:
  size_t most() const;  ///< under the lock

  mutable std::mutex mutex_;
  WorkLimits limits_;
  size_t requests_ = 0, tokens_ = 0;
  double tokens_per_byte_ = 0.25;
  double tokens_per_s_ = 0;
};

/// A bucket of tokens for each address. Thread rule: any thread.
class AddressRates {
 public:
  using Clock = std::chrono::steady_clock;

  /// Requests a second, and as many at once; 0 = no limit.
  void set(double rate);
  /// Seconds until the next one may come; nothing: let in.
  std::optional<double> refuse(const std::string& address, Clock::time_point now);

 private:
  struct Bucket {
    double level = 0;
    Clock::time_point seen;
  };
  std::mutex mutex_;
  double rate_ = 0;
  std::unordered_map<std::string, Bucket> buckets_;
};

}  // namespace tamis::server
