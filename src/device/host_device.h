#pragma once

// What devices share whose memory is the host's: plain allocations, and streams that do their work
// at once.

#include <memory>
#include <utility>

#include "base/host.h"
#include "device/allocation_map.h"
#include "device/device.h"

namespace tamis {

class HostDevice : public Device {
 public:
  HostDevice(DeviceInfo info, const HostProbe& host) : info_(std::move(info)), host_(host) {}
  const DeviceInfo& info() const override { return info_; }
  MemoryInfo memory() const override;
  bool owns(const void* p, size_t bytes) const override { return allocations_.owns(p, bytes); }

 protected:
  std::byte* allocate_bytes(size_t bytes) override;
  std::byte* allocate_zeroed_bytes(size_t bytes) override;
  void free_bytes(std::byte* data, size_t bytes) noexcept override;
  void adopt_bytes(const std::byte* data, size_t bytes) override;
  void forget_bytes(const std::byte* data) noexcept override;
  const HostProbe& host() const { return host_; }

 private:
  DeviceInfo info_;
  HostProbe host_;
  AllocationMap allocations_;
};

/// A stream whose work is done when the call returns.
class HostStream : public Stream {
 public:
  explicit HostStream(std::unique_ptr<Ops> ops, std::unique_ptr<TrainOps> train_ops = nullptr)
      : ops_(std::move(ops)), train_ops_(std::move(train_ops)) {}
  Ops& ops() override { return *ops_; }
  TrainOps* train_ops() override { return train_ops_.get(); }
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  std::unique_ptr<Event> record() override;
  void wait(const Event&) override {}
  void synchronize(std::chrono::milliseconds) override {}

 private:
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<TrainOps> train_ops_;
};

}  // namespace tamis
