#include "service/admission.h"

#include <algorithm>
#include <utility>

namespace tamis::server {
namespace {

/// Before anything was measured; what a slow core does of a small model in ten seconds.
constexpr size_t kUnmeasuredTokens = 65'536;
/// A few short requests, however slow the model is.
constexpr size_t kLeastTokens = 2'048;
constexpr size_t kShareOfOne = 8;
/// Buckets that are full again are forgotten when there are so many.
constexpr size_t kManyAddresses = 10'000;

}  // namespace

WorkAdmission::WorkAdmission(const WorkLimits& limits) : limits_(limits) {}

void WorkAdmission::set_limits(const WorkLimits& limits) {
  const std::lock_guard lock(mutex_);
  limits_ = limits;
}

size_t WorkAdmission::most() const {
  if (limits_.tokens > 0) return limits_.tokens;
  if (tokens_per_s_ <= 0) return kUnmeasuredTokens;
  const auto in_time = static_cast<size_t>(tokens_per_s_ * limits_.max_wait_ms / 1000);
  return std::max(kLeastTokens, in_time);
}

std::shared_ptr<void> WorkAdmission::enter(size_t body_bytes, Refusal& refusal) {
  const std::lock_guard lock(mutex_);
  const size_t most = this->most();
  const auto estimate = static_cast<size_t>(static_cast<double>(body_bytes) * tokens_per_byte_);
  const size_t charge = std::clamp<size_t>(estimate, 1, std::max<size_t>(1, most / kShareOfOne));
  refusal.too_many_requests = requests_ >= limits_.requests;
  if (refusal.too_many_requests || tokens_ + charge > most) {
    refusal.waiting_tokens = tokens_;
    refusal.most_tokens = most;
    // When a good part of what waits will be done.
    const double seconds =
        tokens_per_s_ > 0 ? static_cast<double>(tokens_) / tokens_per_s_ / 2 : 1.0;
    refusal.retry_after_s = std::clamp(seconds, 1.0, 60.0);
    return nullptr;
  }
  ++requests_;
  tokens_ += charge;
  return std::shared_ptr<void>(static_cast<void*>(this), [this, charge](void*) {
    const std::lock_guard leave(mutex_);
    --requests_;
    tokens_ -= charge;
  });
}

void WorkAdmission::learn(size_t body_bytes, size_t tokens) {
  if (body_bytes == 0) return;
  const std::lock_guard lock(mutex_);
  const double seen = static_cast<double>(tokens) / static_cast<double>(body_bytes);
  tokens_per_byte_ += (std::clamp(seen, 0.01, 2.0) - tokens_per_byte_) / 16;
}

void WorkAdmission::set_speed(double tokens_per_s) {
  const std::lock_guard lock(mutex_);
  tokens_per_s_ = tokens_per_s;
}

size_t WorkAdmission::waiting_tokens() const {
  const std::lock_guard lock(mutex_);
  return tokens_;
}

size_t WorkAdmission::most_tokens() const {
  const std::lock_guard lock(mutex_);
  return most();
}

void AddressRates::set(double rate) {
  const std::lock_guard lock(mutex_);
  rate_ = rate;
  buckets_.clear();
}

std::optional<double> AddressRates::refuse(const std::string& address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (rate_ <= 0) return std::nullopt;
  const double most = std::max(1.0, rate_);
  const auto level_at = [&](const Bucket& b) {
    return std::min(most, b.level + rate_ * std::chrono::duration<double>(now - b.seen).count());
  };
  if (buckets_.size() > kManyAddresses) {
    std::erase_if(buckets_, [&](const auto& b) { return level_at(b.second) >= most; });
  }
  const auto [at, is_new] = buckets_.try_emplace(address, Bucket{most, now});
  Bucket& bucket = at->second;
  bucket.level = level_at(bucket);
  bucket.seen = std::max(bucket.seen, now);
  if (bucket.level < 1) return (1 - bucket.level) / rate_;
  bucket.level -= 1;
  return std::nullopt;
}

}  // namespace tamis::server
