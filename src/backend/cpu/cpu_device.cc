#include "backend/cpu/cpu_device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/cpu_train_ops.h"
#include "base/fail.h"
#include "base/host.h"
#include "base/thread_pool.h"
#include "device/host_device.h"
#include "kernels/kernels.h"

namespace tamis {
namespace {

constexpr int kMaxThreads = 1024;

const kernels::KernelTable& choose_table(const std::string& isa) {
  if (isa.empty()) return *kernels::supported_tables().front();
  const kernels::KernelTable* table = kernels::find_table(isa);
  if (table == nullptr) {
    fail(ErrorCode::kInvalidArgument, "isa \"{}\" is not available; this machine has: {}", isa,
         fmt::join(cpu_isas(), ", "));
  }
  return *table;
}

/// Ops and the pool that they run on.
class CpuStream : public HostStream {
 public:
  CpuStream(const kernels::KernelTable& table, std::shared_ptr<ThreadPool> pool)
      : HostStream(std::make_unique<CpuOps>(table, *pool), make_cpu_train_ops(table, *pool)),
        pool_(std::move(pool)) {}

 private:
  std::shared_ptr<ThreadPool> pool_;
};

class CpuDevice : public HostDevice {
 public:
  CpuDevice(DeviceInfo info, const kernels::KernelTable& table, int node, const HostProbe& host)
      : HostDevice(std::move(info), host), table_(table), node_(node) {}

  MemoryInfo memory() const override {
    MemoryInfo all = HostDevice::memory();
    for (const NumaNode& node : host().numa_nodes()) {
      if (node.id != node_ || node.total_bytes == 0) continue;
      all = {std::min(all.total_bytes, node.total_bytes),
             std::min(all.free_bytes, node.free_bytes)};
    }
    return all;
  }

  std::shared_ptr<Stream> make_stream(const StreamOptions& options) override {
    return std::make_shared<CpuStream>(table_, pool(options));
  }
  size_t linear_bytes(int64_t in, int64_t out, DType dtype) const override {
    return CpuLinearLayout(in, out, dtype, table_.nr).bytes;
  }
  size_t scratch_bytes(const ScratchShape& shape, const StreamOptions& options) const override {
    return cpu_scratch_bytes(table_, shape, threads(options));
  }

 private:
  int threads(const StreamOptions& options) const {
    if (options.threads < 0 || options.threads > kMaxThreads) {
      fail(ErrorCode::kInvalidArgument, "threads: expected 0 to {}, got {}", kMaxThreads,
           options.threads);
    }
    if (options.threads > 0) return options.threads;
    const size_t cores = options.cores.empty() ? info().cores.size() : options.cores.size();
    return static_cast<int>(std::clamp<size_t>(cores, 1, static_cast<size_t>(usable_cores())));
  }

  std::shared_ptr<ThreadPool> pool(const StreamOptions& options) {
    const std::vector<int> cores =
        options.cores.empty() && info().pinned ? info().cores : options.cores;
    const std::lock_guard lock(mutex_);
    std::weak_ptr<ThreadPool>& known = pools_[{threads(options), cores}];
    auto pool = known.lock();
    if (!pool) known = pool = std::make_shared<ThreadPool>(threads(options), cores);
    return pool;
  }

  const kernels::KernelTable& table_;
  int node_;
  std::mutex mutex_;
  std::map<std::pair<int, std::vector<int>>, std::weak_ptr<ThreadPool>> pools_;
};

}  // namespace

std::shared_ptr<Device> make_cpu_device(const CpuDeviceOptions& options, const HostProbe& host) {
  const kernels::KernelTable& table = choose_table(options.isa);
  DeviceInfo info;
  info.name = options.name;
  info.kind = "cpu";
  info.isa = table.isa;
  info.cores = options.cores.empty() ? host.cores() : options.cores;
  info.description = fmt::format("{}, {} cores, {}", host.cpu_model(), info.cores.size(), info.isa);
  info.host_memory = true;
  // The number goes up with every change of CpuLinearLayout, Int8Panel or what fills them.
  info.packed_form = fmt::format("cpu 1, panels of {}", table.nr);
  info.pinned = options.node >= 0;
  // Activations of 1,024 tokens are 25 MB for XLM-R-large, what a server CPU's caches hold, and
  // each weight is read once for 48 rows of them. Chosen by that reckoning, not tuned.
  info.batch_tokens = 1024;
  info.least_tokens = 128;
  return std::make_shared<CpuDevice>(std::move(info), table, options.node, host);
}

std::vector<std::string> cpu_isas() {
  std::vector<std::string> out;
  for (const kernels::KernelTable* table : kernels::supported_tables()) {
    out.emplace_back(table->isa);
  }
  return out;
}

}  // namespace tamis
