#include "backend/cpu/cpu_device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backend/cpu/cpu_ops.h"
#include "base/fail.h"
#include "base/host.h"
#include "base/thread_pool.h"
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

class CpuDevice : public Device {
 public:
  CpuDevice(const kernels::KernelTable& table, int threads)
      : table_(table), pool_(threads), ops_(table, pool_) {}
  std::string_view name() const override { return "cpu"; }
  std::string_view isa() const override { return table_.isa; }
  int threads() const override { return pool_.threads(); }
  // Activations of 1,024 tokens are 25 MB for XLM-R-large, what a server CPU's caches hold, and
  // each weight is read once for 48 rows of them. Chosen by that reckoning, not tuned.
  size_t preferred_batch_tokens() const override { return 1024; }
  Ops& ops() override { return ops_; }

 private:
  const kernels::KernelTable& table_;
  ThreadPool pool_;
  CpuOps ops_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(const DeviceOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    fail(ErrorCode::kInvalidArgument, "threads: expected 0 to {}, got {}", kMaxThreads,
         options.threads);
  }
  const int threads = options.threads == 0 ? usable_cores() : options.threads;
  return std::make_unique<CpuDevice>(choose_table(options.isa), threads);
}

std::vector<std::string> cpu_isas() {
  std::vector<std::string> out;
  for (const kernels::KernelTable* table : kernels::supported_tables()) {
    out.emplace_back(table->isa);
  }
  return out;
}

}  // namespace tamis
