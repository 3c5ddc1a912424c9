#include "backend/sim/sim_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis {
namespace {

// How many freed allocations keep their addresses, so that late work cannot take a new one for
// them: few enough for the kernel's list of mappings (65,530), within a small part of 47 bits.
constexpr size_t kFreedBlocks = 4096;
constexpr size_t kFreedReserved = size_t{4} << 40;

// Linux grants more memory than there is and kills the process when it is used. Larger requests
// than this are held against what the host really has.
constexpr size_t kCheckedBytes = size_t{64} << 20;

uintptr_t address_of(const void* p) { return reinterpret_cast<uintptr_t>(p); }

}  // namespace

SimMemory::SimMemory(std::string device, std::shared_ptr<SimState> state,
                     std::shared_ptr<Device> host)
    : device_(std::move(device)), state_(std::move(state)), host_(std::move(host)) {}

SimMemory::~SimMemory() {
  for (const auto& [address, block] : blocks_) {
    munmap(reinterpret_cast<void*>(address), block.reserved);
  }
}

std::byte* SimMemory::allocate(size_t bytes) {
  state_->require_alive(device_);
  const std::lock_guard lock(mutex_);
  check_room(bytes);
  Block block;
  block.bytes = bytes;
  block.data = {allocate_host(bytes), free_host};
  std::memset(block.data.get(), 0xFF, bytes);
  // One page more, so that no two allocations touch.
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  block.reserved = (bytes + page - 1) / page * page + page;
  while (freed_blocks_ >= kFreedBlocks || freed_reserved_ > kFreedReserved) forget_oldest();
  void* address =
      mmap(nullptr, block.reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    fail(ErrorCode::kResourceExhausted, "{}: no addresses left for {}", device_,
         format_bytes(bytes));
  }
  blocks_[address_of(address)] = std::move(block);
  used_ += bytes;
  return static_cast<std::byte*>(address);
}

void SimMemory::check_room(size_t bytes) const {
  const bool fault = state_->next_alloc_fails();
  const size_t total = state_->options().memory_bytes;
  const size_t left = total - std::min(total, used_);
  if (fault || bytes > left) {
    fail(ErrorCode::kResourceExhausted, "{}: {} needed, {} of {} free{}", device_,
         format_bytes(bytes), format_bytes(left), format_bytes(total),
         fault ? " (refused on request: fail_alloc)" : "");
  }
  if (bytes < kCheckedBytes) return;
  const MemoryInfo real = host_->memory();
  if (real.total_bytes > 0 && bytes > real.free_bytes) {
    fail(ErrorCode::kResourceExhausted, "{}: {} needed, and the host that simulates it has {} free",
         device_, format_bytes(bytes), format_bytes(real.free_bytes));
  }
}

void SimMemory::free(const std::byte* address) noexcept {
  const std::lock_guard lock(mutex_);
  Block& block = blocks_.find(address_of(address))->second;
  block.data.reset();
  block.freed = ++frees_;
  used_ -= block.bytes;
  ++freed_blocks_;
  freed_reserved_ += block.reserved;
}

void SimMemory::forget_oldest() {
  const auto age = [](const Block& block) {
    return block.data == nullptr ? block.freed : UINT64_MAX;
  };
  const auto oldest =
      std::min_element(blocks_.begin(), blocks_.end(),
                       [&](const auto& a, const auto& b) { return age(a.second) < age(b.second); });
  munmap(reinterpret_cast<void*>(oldest->first), oldest->second.reserved);
  --freed_blocks_;
  freed_reserved_ -= oldest->second.reserved;
  blocks_.erase(oldest);
}

MemoryInfo SimMemory::info() const {
  state_->require_alive(device_);
  const size_t total = state_->options().memory_bytes;
  const std::lock_guard lock(mutex_);
  return {total, total - std::min(total, used_)};
}

SimMemory::Blocks::const_iterator SimMemory::block_of(uintptr_t address) const {
  auto it = blocks_.upper_bound(address);
  if (it == blocks_.begin()) return blocks_.end();
  --it;
  return address - it->first < it->second.reserved ? it : blocks_.end();
}

std::shared_ptr<std::byte> SimMemory::find(const void* address, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const auto it = block_of(address_of(address));
  if (it == blocks_.end() || it->second.data == nullptr) return nullptr;
  const size_t offset = address_of(address) - it->first;
  if (offset > it->second.bytes || bytes > it->second.bytes - offset) return nullptr;
  return {it->second.data, it->second.data.get() + offset};
}

std::string SimMemory::explain(const void* address, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const auto it = block_of(address_of(address));
  if (it == blocks_.end()) return "a host pointer, or another device's";
  if (it->second.data == nullptr) return "it has been freed";
  const size_t end = address_of(address) - it->first + bytes;
  return fmt::format("it ends {} bytes after its allocation of {}", end - it->second.bytes,
                     it->second.bytes);
}

}  // namespace tamis
