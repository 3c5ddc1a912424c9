#pragma once

// The seam between model code and hardware: memory, streams of work, and the ops that run on them.
// A backend implements Device and Stream; nothing above src/backend knows which one it talks to.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "device/memory_account.h"
#include "device/ops.h"
#include "device/rank_sum.h"
#include "device/train_ops.h"

namespace tamis {

class Device;

/// Memory of a device, given back when destroyed. Move-only; keeps its device alive.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  /// An address of the device. Only on a device with host_memory may the host read or write there.
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class Device;
  std::shared_ptr<Device> device_;
  std::shared_ptr<const void> owner_;  ///< of adopted memory
  std::shared_ptr<MemoryAccount> account_;
  Purpose purpose_ = Purpose::kWeights;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

/// A point in a stream's work.
class Event {
 public:
  virtual ~Event() = default;
  /// Waits until all work before it is done. Errors: as Stream::synchronize.
  virtual void synchronize(std::chrono::milliseconds timeout) = 0;
};

/// Work in order. Calls return before the work is done on a device that works by itself; host
/// memory given to upload and download must stay until then. Work of different streams has no
/// order but that of record and wait.
/// Thread rule: one thread at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Ops& ops() = 0;
  /// Null where a backend does not train.
  virtual TrainOps* train_ops() { return nullptr; }
  /// Whether streams of several devices can add up where the numbers lie; `why_not` says what is
  /// missing, if this backend knows of such sums at all.
  virtual bool can_join_ranks(std::string& why_not);
  /// What they join with: one makes it, all are given it. Errors: unavailable.
  virtual std::string make_rank_token();
  /// Returns when `size` streams have joined, each as a rank of its own. The stream must outlive
  /// what is returned. Errors: unavailable.
  virtual std::unique_ptr<RankSum> join_ranks(const std::string& token, int rank, int size);
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  /// Calls `work`, which only calls ops of this stream. A device may keep what that queued, and
  /// queue it again for the same key without calling `work`.
  virtual void repeat(std::span<const int64_t> key, const std::function<void()>& work);
  virtual std::unique_ptr<Event> record() = 0;
  /// Work given to this stream from now on begins after `event`, which may be another stream's.
  virtual void wait(const Event& event) = 0;
  /// Waits until everything is done. Errors of the work appear here: unavailable (the device has
  /// failed, or did not end within the timeout), resource_exhausted, internal.
  virtual void synchronize(std::chrono::milliseconds timeout) = 0;
};

struct StreamOptions {
  int threads = 0;         ///< of a cpu: that compute, the caller included; 0 = one for each core
  std::vector<int> cores;  ///< of a cpu: where they run; empty = wherever the system puts them
};

struct DeviceInfo {
  std::string name;         ///< "cpu", "cpu:0", "sim:0"
  std::string kind;         ///< "cpu", "ref", "sim"
  std::string description;  ///< for people: "AMD EPYC, 2 cores, avx512"
  std::string isa;          ///< of a cpu: "avx512"
  /// Ops read and write host memory; the word table then stays in the mapped file.
  bool host_memory = false;
  std::vector<int> cores;      ///< of a cpu: those that it may use
  bool pinned = false;         ///< of a cpu: its threads stay on them (a NUMA node)
  size_t batch_tokens = 1024;  ///< tokens of a batch that suit the device best
  size_t least_tokens = 128;   ///< below which a batch is too small to use it well
  /// Names how weights are packed, of a device with host_memory whose packed weights may be kept in
  /// a file and mapped by another process; "" = they may not.
  std::string packed_form;
};

struct MemoryInfo {
  size_t total_bytes = 0;
  size_t free_bytes = 0;
};

/// The largest batch and the widest layer that scratch is needed for.
struct ScratchShape {
  int64_t tokens = 0;
  int64_t features = 0;  ///< inputs of the widest linear layer
  int64_t head_dim = 0;
  DType dtype = DType::kF32;  ///< of the linear layers
  int64_t heads = 1;
};

/// Where a model's weights and activations are. Thread rule: every function may be called from any
/// thread.
class Device : public std::enable_shared_from_this<Device> {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual MemoryInfo memory() const = 0;
  /// Whether all of these bytes are this device's.
  virtual bool owns(const void* p, size_t bytes) const = 0;
  /// Errors: invalid_argument (threads), resource_exhausted.
  virtual std::shared_ptr<Stream> make_stream(const StreamOptions& options) = 0;

  /// Bytes of a packed layer of this shape with weights of this storage type.
  virtual size_t linear_bytes(int64_t in_features, int64_t out_features, DType dtype) const = 0;
  /// Scratch that the ops of a stream need for batches up to this shape (Ops::set_scratch).
  virtual size_t scratch_bytes(const ScratchShape& shape, const StreamOptions& options) const = 0;

  /// Opens a model's account here; the device lists it for as long as somebody holds it.
  std::shared_ptr<MemoryAccount> open_account(const std::string& model, size_t limit_bytes);
  /// Uninitialised, aligned to 64 bytes. Errors: resource_exhausted (bytes needed and free).
  Buffer allocate(size_t bytes, const std::shared_ptr<MemoryAccount>& account, Purpose purpose);
  /// The same full of zeros; where the host's memory serves, a page takes memory when it is first
  /// written to. Errors: unimplemented on a device that does not train.
  Buffer allocate_zeroed(size_t bytes, const std::shared_ptr<MemoryAccount>& account,
                         Purpose purpose);
  /// Memory of the host that `owner` keeps, read-only and aligned to 64 bytes, as if it had been
  /// allocated here. Only with host_memory. Errors: resource_exhausted (the account's limit).
  Buffer adopt(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
               const std::shared_ptr<MemoryAccount>& account, Purpose purpose);
  /// By account; and the sum of all.
  std::vector<MemoryAccount::Use> accounts() const;
  size_t used_bytes() const;
  size_t peak_bytes() const;

 protected:
  virtual std::byte* allocate_bytes(size_t bytes) = 0;
  virtual std::byte* allocate_zeroed_bytes(size_t bytes);
  virtual void free_bytes(std::byte* data, size_t bytes) noexcept = 0;
  /// owns() counts them, until forget_bytes. Errors: internal (the device has memory of its own).
  virtual void adopt_bytes(const std::byte* data, size_t bytes);
  virtual void forget_bytes(const std::byte*) noexcept {}

 private:
  friend class Buffer;
  Buffer charged(size_t bytes, const std::shared_ptr<MemoryAccount>& account, Purpose purpose,
                 const std::function<std::byte*()>& get);
  void count(size_t more, size_t less) noexcept;
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<MemoryAccount>> accounts_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

/// Host memory aligned to 64 bytes, in huge pages where it is large. Errors: resource_exhausted.
std::byte* allocate_host(size_t bytes);
/// Zeros, in small pages that take memory when they are first written to.
std::byte* allocate_host_zeroed(size_t bytes);
void free_host(std::byte* data) noexcept;

}  // namespace tamis
