#include "device/device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis {

Buffer::Buffer(Buffer&& other) noexcept
    : device_(std::move(other.device_)),
      owner_(std::move(other.owner_)),
      account_(std::move(other.account_)),
      purpose_(other.purpose_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  Buffer moved(std::move(other));
  std::swap(device_, moved.device_);
  std::swap(owner_, moved.owner_);
  std::swap(account_, moved.account_);
  std::swap(purpose_, moved.purpose_);
  std::swap(data_, moved.data_);
  std::swap(bytes_, moved.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (owner_) {
    device_->forget_bytes(data_);
  } else {
    device_->free_bytes(data_, bytes_);
  }
  device_->count(0, bytes_);
  account_->refund(purpose_, bytes_);
}

bool Stream::can_join_ranks(std::string&) { return false; }

std::string Stream::make_rank_token() {
  fail(ErrorCode::kInternal, "this stream has no sums over ranks");
}

std::unique_ptr<RankSum> Stream::join_ranks(const std::string&, int, int) {
  fail(ErrorCode::kInternal, "this stream has no sums over ranks");
}

void Stream::repeat(std::span<const int64_t>, const std::function<void()>& work) { work(); }

std::shared_ptr<MemoryAccount> Device::open_account(const std::string& model, size_t limit_bytes) {
  auto account = std::make_shared<MemoryAccount>(model, limit_bytes);
  const std::lock_guard lock(mutex_);
  std::erase_if(accounts_, [](const auto& weak) { return weak.expired(); });
  accounts_.push_back(account);
  return account;
}

Buffer Device::charged(size_t bytes, const std::shared_ptr<MemoryAccount>& account, Purpose purpose,
                       const std::function<std::byte*()>& get) {
  Buffer buffer;
  account->charge(purpose, bytes, info().name);
  try {
    buffer.data_ = get();
  } catch (...) {
    account->refund(purpose, bytes);
    throw;
  }
  count(bytes, 0);
  buffer.device_ = shared_from_this();
  buffer.account_ = account;
  buffer.purpose_ = purpose;
  buffer.bytes_ = bytes;
  return buffer;
}

Buffer Device::allocate(size_t bytes, const std::shared_ptr<MemoryAccount>& account,
                        Purpose purpose) {
  if (bytes == 0) return {};
  return charged(bytes, account, purpose, [&] { return allocate_bytes(bytes); });
}

Buffer Device::allocate_zeroed(size_t bytes, const std::shared_ptr<MemoryAccount>& account,
                               Purpose purpose) {
  if (bytes == 0) return {};
  return charged(bytes, account, purpose, [&] { return allocate_zeroed_bytes(bytes); });
}

std::byte* Device::allocate_zeroed_bytes(size_t) {
  fail(ErrorCode::kUnimplemented, "{} does not train; cpu and cuda do", info().name);
}

Buffer Device::adopt(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                     const std::shared_ptr<MemoryAccount>& account, Purpose purpose) {
  if (bytes.empty()) return {};
  Buffer buffer = charged(bytes.size(), account, purpose, [&] {
    adopt_bytes(bytes.data(), bytes.size());
    return const_cast<std::byte*>(bytes.data());  // read-only all the same: the owner says so
  });
  buffer.owner_ = std::move(owner);
  return buffer;
}

void Device::adopt_bytes(const std::byte*, size_t) {
  fail(ErrorCode::kInternal, "{} cannot adopt memory of the host", info().name);
}

void Device::count(size_t more, size_t less) noexcept {
  const std::lock_guard lock(mutex_);
  used_ = used_ + more - less;
  peak_ = std::max(peak_, used_);
}

std::vector<MemoryAccount::Use> Device::accounts() const {
  const std::lock_guard lock(mutex_);
  std::vector<MemoryAccount::Use> out;
  for (const auto& weak : accounts_) {
    if (const auto account = weak.lock()) out.push_back(account->use());
  }
  return out;
}

size_t Device::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

size_t Device::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

std::byte* allocate_host(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = rounded >= bytes ? std::aligned_alloc(alignment, rounded) : nullptr;
  if (data == nullptr) {
    fail(ErrorCode::kResourceExhausted, "cannot allocate {} of host memory", format_bytes(bytes));
  }
  // A gigabyte of weights in 4 KiB pages costs 300,000 faults at load and TLB misses ever after.
  if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

std::byte* allocate_host_zeroed(size_t bytes) {
  constexpr size_t kPage = 4096;
  const size_t rounded = (bytes + kPage - 1) / kPage * kPage;
  void* data = rounded >= bytes ? std::aligned_alloc(kPage, rounded) : nullptr;
  if (data == nullptr) {
    fail(ErrorCode::kResourceExhausted, "cannot allocate {} of host memory", format_bytes(bytes));
  }
  madvise(data, rounded, MADV_NOHUGEPAGE);
  // What is given back reads as zeros [madvise(2)]; where that fails, zeros are written.
  if (madvise(data, rounded, MADV_DONTNEED) != 0) std::memset(data, 0, rounded);
  return static_cast<std::byte*>(data);
}

void free_host(std::byte* data) noexcept { std::free(data); }

}  // namespace tamis
