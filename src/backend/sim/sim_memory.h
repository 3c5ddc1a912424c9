#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "backend/sim/sim_state.h"
#include "device/device.h"

namespace tamis {

/// The memory of a simulated accelerator. Its addresses are pages that nobody may read or write, so
/// that a host which follows one faults; the bytes lie elsewhere, and only running work finds them.
/// Thread rule: every function may be called from any thread.
class SimMemory {
 public:
  SimMemory(std::string device, std::shared_ptr<SimState> state, std::shared_ptr<Device> host);
  ~SimMemory();
  SimMemory(const SimMemory&) = delete;
  SimMemory& operator=(const SimMemory&) = delete;

  /// Every byte is 0xFF: a NaN, or the index -1. Errors: unavailable, resource_exhausted.
  std::byte* allocate(size_t bytes);
  void free(const std::byte* address) noexcept;
  MemoryInfo info() const;

  /// Where bytes that lie within one living allocation are; they stay while somebody holds the
  /// result, even if they are freed. Null for all other addresses.
  std::shared_ptr<std::byte> find(const void* address, size_t bytes) const;
  /// Why find gave null.
  std::string explain(const void* address, size_t bytes) const;
  const std::string& device() const { return device_; }

 private:
  struct Block {
    size_t bytes = 0;
    size_t reserved = 0;              // of the address space
    std::shared_ptr<std::byte> data;  // null once freed
    uint64_t freed = 0;               // when
  };
  using Blocks = std::map<uintptr_t, Block>;
  Blocks::const_iterator block_of(uintptr_t address) const;
  void check_room(size_t bytes) const;
  void forget_oldest();

  const std::string device_;
  const std::shared_ptr<SimState> state_;
  const std::shared_ptr<Device> host_;
  mutable std::mutex mutex_;
  Blocks blocks_;  // by address; freed ones too, lest their address is soon another's
  size_t used_ = 0;
  size_t freed_blocks_ = 0;
  size_t freed_reserved_ = 0;
  uint64_t frees_ = 0;
};

}  // namespace tamis
