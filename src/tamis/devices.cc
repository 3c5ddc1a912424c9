#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/fail.h"
#include "device/device_set.h"
#include "engine/model_engine.h"
#include "tamis/device.h"
#include "tamis/place.h"

namespace tamis {
namespace {

DeviceStatus status_of(const KnownDevice& known) {
  DeviceStatus out;
  out.name = known.name.text();
  out.kind = known.name.kind;
  out.description = known.description;
  out.usable = known.usable;
  out.problem = known.problem;
  out.total_bytes = known.memory.total_bytes;
  out.free_bytes = known.memory.free_bytes;
  out.utilisation_percent = known.utilisation_percent;
  for (const GpuProcess& p : known.processes) out.processes.push_back({p.pid, p.bytes, p.name});
  if (known.opened) {
    out.open = true;
    out.description = known.opened->info().description;
    out.used_bytes = known.opened->used_bytes();
    out.peak_bytes = known.opened->peak_bytes();
    for (const MemoryAccount::Use& use : known.opened->accounts()) {
      out.models.push_back({use.model, use.weight_bytes, use.workspace_bytes, use.reserved_bytes,
                            use.peak_bytes, use.limit_bytes});
      out.reserved_bytes += use.reserved_bytes;
    }
  }
  const size_t taken = out.total_bytes - std::min(out.total_bytes, out.free_bytes);
  out.other_bytes = taken - std::min(taken, out.used_bytes);
  return out;
}

}  // namespace

struct DeviceWatch::Impl {
  std::mutex mutex;
  std::condition_variable stopped;
  bool stop = false;
  std::thread thread;
};

DeviceWatch::DeviceWatch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DeviceWatch::DeviceWatch(DeviceWatch&&) noexcept = default;
DeviceWatch& DeviceWatch::operator=(DeviceWatch&& other) noexcept {
  DeviceWatch moved(std::move(other));
  std::swap(impl_, moved.impl_);
  return *this;
}
DeviceWatch::~DeviceWatch() {
  if (!impl_) return;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->stopped.notify_all();
  impl_->thread.join();
}

Devices::Devices(const DevicesOptions& options)
    : impl_(std::make_shared<DeviceSet>(DeviceSetOptions{options.sims, options.nvml_library,
                                                         options.host_root, options.cuda_plugin,
                                                         options.cuda_options})) {}
Devices::~Devices() = default;

std::vector<DeviceStatus> Devices::status() const {
  std::vector<DeviceStatus> out;
  for (const KnownDevice& known : impl_->list()) out.push_back(status_of(known));
  return out;
}

DeviceStatus Devices::status(std::string_view name) const {
  const std::string wanted = parse_device_name(name).text();
  std::string names;
  for (const DeviceStatus& status : this->status()) {
    if (status.name == wanted) return status;
    names += (names.empty() ? "" : ", ") + status.name;
  }
  fail(ErrorCode::kInvalidArgument, "no device \"{}\"; devices here: {}", name, names);
}

DeviceWatch Devices::watch(int interval_ms,
                           std::function<void(const std::vector<DeviceStatus>&)> callback) const {
  if (interval_ms < 1) {
    fail(ErrorCode::kInvalidArgument, "interval_ms: expected at least 1, got {}", interval_ms);
  }
  auto impl = std::make_unique<DeviceWatch::Impl>();
  impl->thread = std::thread(
      [state = impl.get(), devices = *this, interval_ms, callback = std::move(callback)] {
        std::unique_lock lock(state->mutex);
        while (!state->stop) {
          lock.unlock();
          callback(devices.status());
          lock.lock();
          state->stopped.wait_for(lock, std::chrono::milliseconds(interval_ms),
                                  [&] { return state->stop; });
        }
      });
  return DeviceWatch(std::move(impl));
}

void Devices::describe_sim(std::string_view name, std::string_view description) {
  impl_->describe_sim(parse_device_name(name), description);
}

MoveReport ModelPlace::to(std::string_view devices, const MoveOptions& options) {
  PlacementOptions next = engine_.options();
  if (!options.dtype.empty()) next.dtype = parse_dtype(options.dtype);
  if (options.threads) next.threads = *options.threads;
  if (options.memory_limit_bytes) next.memory_limit_bytes = options.memory_limit_bytes;
  if (options.batch_tokens) next.batch_tokens = *options.batch_tokens;
  return engine_.place(devices, next);
}

std::string ModelPlace::device() const { return engine_.device(); }
std::vector<Placement> ModelPlace::placement() const { return engine_.placement(); }
std::vector<WarmupResult> ModelPlace::warmup(const WarmupOptions& options) {
  return engine_.warmup(options);
}
ModelLoad ModelPlace::load() const { return engine_.load(); }
size_t ModelPlace::trim() { return engine_.trim(); }

}  // namespace tamis
