#include "backend/sim/sim_device.h"

#include <cstring>
#include <utility>

#include "backend/sim/sim_ops.h"
#include "base/fail.h"

namespace tamis {
namespace {

class SimEvent : public Event {
 public:
  SimEvent(std::shared_ptr<SimCore> core, std::shared_ptr<SimLane> lane)
      : core_(std::move(core)), lane_(std::move(lane)), mark_(core_->queue.record(*lane_)) {}
  void synchronize(std::chrono::milliseconds timeout) override {
    core_->queue.synchronize(*lane_, *mark_, timeout);
  }

  const SimCore* core() const { return core_.get(); }
  const std::shared_ptr<SimMark>& mark() const { return mark_; }

 private:
  std::shared_ptr<SimCore> core_;
  std::shared_ptr<SimLane> lane_;
  std::shared_ptr<SimMark> mark_;
};

class SimStream : public Stream {
 public:
  SimStream(std::shared_ptr<SimCore> core, const StreamOptions& options)
      : core_(std::move(core)), lane_(core_->queue.open()), ops_(core_, lane_, options) {}
  ~SimStream() override { core_->queue.close(lane_); }

  Ops& ops() override { return ops_; }
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  std::unique_ptr<Event> record() override { return std::make_unique<SimEvent>(core_, lane_); }
  void wait(const Event& event) override;
  void synchronize(std::chrono::milliseconds timeout) override {
    core_->queue.synchronize(*lane_, timeout);
  }

 private:
  std::shared_ptr<SimCore> core_;
  std::shared_ptr<SimLane> lane_;
  SimOps ops_;
};

/// The host's side of a copy must be what it says.
void require_host(const SimCore& core, const char* copy, const void* host) {
  if (core.memory.find(host, 0) == nullptr) return;
  fail(ErrorCode::kInternal, "{}: {}: {} is memory of the device, not of the host", core.name, copy,
       host);
}

void SimStream::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  core_->queue.push(*lane_, [&core = *core_, device, host, bytes] {
    require_host(core, "upload", host);
    SimOperands operands(core.memory, "upload");
    std::memcpy(operands.bytes(device, bytes, "destination"), host, bytes);
    return core.state->time_of_copy(static_cast<double>(bytes));
  });
}

void SimStream::download(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  core_->queue.push(*lane_, [&core = *core_, host, device, bytes] {
    require_host(core, "download", host);
    SimOperands operands(core.memory, "download");
    std::memcpy(host, operands.bytes(device, bytes, "source"), bytes);
    return core.state->time_of_copy(static_cast<double>(bytes));
  });
}

void SimStream::wait(const Event& event) {
  const auto* known = dynamic_cast<const SimEvent*>(&event);
  if (known == nullptr || known->core() != core_.get()) {
    fail(ErrorCode::kInternal, "{}: wait: the event is of another device", core_->name);
  }
  core_->queue.wait(*lane_, known->mark());
}

class SimDevice : public Device {
 public:
  explicit SimDevice(std::shared_ptr<SimCore> core) : core_(std::move(core)) {
    info_.name = core_->name;
    info_.kind = "sim";
    info_.description = core_->state->options().description();
    info_.batch_tokens = 4096;
    info_.least_tokens = 256;
  }
  const DeviceInfo& info() const override { return info_; }
  MemoryInfo memory() const override { return core_->memory.info(); }
  bool owns(const void* p, size_t bytes) const override {
    return core_->memory.find(p, bytes) != nullptr;
  }
  std::shared_ptr<Stream> make_stream(const StreamOptions& options) override {
    return std::make_shared<SimStream>(core_, options);
  }
  size_t linear_bytes(int64_t in, int64_t out, DType dtype) const override {
    return core_->host->linear_bytes(in, out, dtype);
  }
  size_t scratch_bytes(const ScratchShape& shape, const StreamOptions&) const override {
    return core_->host->scratch_bytes(shape, sim_host_options());
  }

 protected:
  std::byte* allocate_bytes(size_t bytes) override { return core_->memory.allocate(bytes); }
  void free_bytes(std::byte* data, size_t) noexcept override { core_->memory.free(data); }

 private:
  std::shared_ptr<SimCore> core_;
  DeviceInfo info_;
};

}  // namespace

std::shared_ptr<Device> make_sim_device(const std::string& name, std::shared_ptr<SimState> state,
                                        std::shared_ptr<Device> host) {
  return std::make_shared<SimDevice>(
      std::make_shared<SimCore>(name, std::move(state), std::move(host)));
}

}  // namespace tamis
