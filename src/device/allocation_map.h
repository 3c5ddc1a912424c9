#pragma once

#include <cstddef>
#include <map>
#include <mutex>

namespace tamis {

/// The allocations of a device by address, for Device::owns. Thread rule: any thread.
class AllocationMap {
 public:
  void add(const std::byte* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    allocations_.emplace(data, bytes);
  }
  void remove(const std::byte* data) noexcept {
    const std::lock_guard lock(mutex_);
    allocations_.erase(data);
  }
  /// Whether all of these bytes lie in one of them.
  bool owns(const void* p, size_t bytes) const {
    const auto* begin = static_cast<const std::byte*>(p);
    const std::lock_guard lock(mutex_);
    auto it = allocations_.upper_bound(begin);
    if (it == allocations_.begin()) return false;
    --it;
    const auto offset = static_cast<size_t>(begin - it->first);
    return offset <= it->second && bytes <= it->second - offset;
  }

 private:
  mutable std::mutex mutex_;
  std::map<const std::byte*, size_t> allocations_;
};

}  // namespace tamis
