#include "device/memory_account.h"

#include <algorithm>

#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis {

MemoryAccount::MemoryAccount(std::string model, size_t limit_bytes) : limit_(limit_bytes) {
  use_.model = std::move(model);
  use_.limit_bytes = limit_bytes == no_limit ? 0 : limit_bytes;
}

void MemoryAccount::charge(Purpose purpose, size_t bytes, const std::string& device) {
  const std::lock_guard lock(mutex_);
  if (limit_ != no_limit && (use_.used() > limit_ || bytes > limit_ - use_.used())) {
    fail(ErrorCode::kResourceExhausted,
         "{}: {} needs {} more for its {}, but its memory limit is {} and {} of it are in use",
         device, use_.model, format_bytes(bytes),
         purpose == Purpose::kWeights ? "weights" : "workspace", format_bytes(limit_),
         format_bytes(use_.used()));
  }
  (purpose == Purpose::kWeights ? use_.weight_bytes : use_.workspace_bytes) += bytes;
  use_.peak_bytes = std::max(use_.peak_bytes, use_.used());
}

void MemoryAccount::refund(Purpose purpose, size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  (purpose == Purpose::kWeights ? use_.weight_bytes : use_.workspace_bytes) -= bytes;
}

void MemoryAccount::reserve(size_t bytes) {
  const std::lock_guard lock(mutex_);
  use_.reserved_bytes = bytes;
}

void MemoryAccount::set_limit(size_t limit_bytes) {
  const std::lock_guard lock(mutex_);
  limit_ = limit_bytes;
  use_.limit_bytes = limit_bytes == no_limit ? 0 : limit_bytes;
}

MemoryAccount::Use MemoryAccount::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

}  // namespace tamis
