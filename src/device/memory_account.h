#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>

namespace tamis {

/// What a piece of device memory is for.
enum class Purpose { kWeights, kWorkspace };

/// One model's memory on one device: every byte that it holds there, by purpose, and the limit that
/// its user has set. Thread rule: every function may be called from any thread.
class MemoryAccount {
 public:
  struct Use {
    std::string model;
    size_t weight_bytes = 0;
    size_t workspace_bytes = 0;
    size_t peak_bytes = 0;      ///< the most that weights and workspace took together
    size_t reserved_bytes = 0;  ///< what the plan of the placement counts on
    size_t limit_bytes = 0;     ///< 0 = none
    size_t used() const { return weight_bytes + workspace_bytes; }
  };

  /// limit_bytes: no_limit = none.
  MemoryAccount(std::string model, size_t limit_bytes);
  static constexpr size_t no_limit = static_cast<size_t>(-1);

  /// Errors: resource_exhausted with limit, use and what was asked for; then nothing is charged.
  void charge(Purpose purpose, size_t bytes, const std::string& device);
  void refund(Purpose purpose, size_t bytes) noexcept;
  void reserve(size_t bytes);
  /// For what is charged from now on.
  void set_limit(size_t limit_bytes);
  Use use() const;

 private:
  mutable std::mutex mutex_;
  Use use_;
  size_t limit_;
};

}  // namespace tamis
