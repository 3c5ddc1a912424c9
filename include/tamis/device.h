#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/log.h"

namespace tamis {

/// One model's memory on one device; bytes.
struct ModelMemory {
  std::string model;
  size_t weight_bytes = 0;
  size_t workspace_bytes = 0;
  size_t reserved_bytes = 0;  ///< what its placement was planned with
  size_t peak_bytes = 0;
  size_t limit_bytes = 0;  ///< set by the user; 0 = none
};

/// A process that has memory of a GPU.
struct DeviceProcess {
  int64_t pid = 0;
  size_t bytes = 0;
  std::string name;
};

/// A device of this machine as it is now.
struct DeviceStatus {
  std::string name;         ///< as `to` takes it: "cpu", "cpu:0", "cuda:0", "sim:0"
  std::string kind;         ///< "cpu", "cuda", "sim", "ref"
  std::string description;  ///< for people: "AMD EPYC, 2 cores, avx512"
  bool usable = false;      ///< a model can be placed here
  std::string problem;      ///< why not, and what to do; empty if usable
  bool open = false;        ///< Tamis uses it; a device that nobody named is never opened
  size_t total_bytes = 0;
  size_t free_bytes = 0;
  size_t used_bytes = 0;            ///< by Tamis in this process, all models
  size_t reserved_bytes = 0;        ///< by Tamis in this process, as planned
  size_t peak_bytes = 0;            ///< the most of used_bytes so far
  size_t other_bytes = 0;           ///< everything else: other processes, other libraries
  double utilisation_percent = -1;  ///< how busy it is; -1 = unknown
  std::vector<ModelMemory> models;
  std::vector<DeviceProcess> processes;
};

struct DevicesOptions {
  /// Simulated accelerators; the i-th describes sim:i, e.g. "memory=2GiB,gflops=50". See
  /// Devices::describe_sim.
  std::vector<std::string> sims;
  /// NVIDIA's management library, which says what GPUs there are; opened without using a GPU.
  std::string nvml_library = "libnvidia-ml.so.1";
  /// Where /proc and /sys are; tests give a tree of their own.
  std::filesystem::path host_root = "/";
  /// The CUDA plug-in, a path; "" = libtamis_cuda.so beside this program or library, in its lib/,
  /// or where the dynamic linker finds it. Opened when a GPU is named, or to say whether one could
  /// be.
  std::string cuda_plugin = {};
  /// How GPUs are used: graphs=on|off, attention=fused|plain, nccl=FILE, by commas. docs/gpu.md
  std::string cuda_options = {};
};

class DeviceSet;

/// Calls back in regular intervals until it is destroyed.
class DeviceWatch {
 public:
  DeviceWatch(DeviceWatch&&) noexcept;
  DeviceWatch& operator=(DeviceWatch&&) noexcept;
  ~DeviceWatch();

 private:
  friend class Devices;
  struct Impl;
  explicit DeviceWatch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The devices of this machine. Nothing is opened before a model is placed on it. Models that were
/// loaded with the same Devices share what they open and see each other's memory.
/// A handle; copies mean the same devices. Thread rule: any thread.
class Devices {
 public:
  explicit Devices(const DevicesOptions& options = {});
  ~Devices();

  /// All devices that a model could be placed on, and GPUs that are seen but not usable, with the
  /// reason. Opens nothing.
  std::vector<DeviceStatus> status() const;
  /// One of them. Errors: invalid_argument (lists the names that exist).
  DeviceStatus status(std::string_view name) const;
  /// Calls `callback` now and then every interval_ms, from a thread of its own.
  DeviceWatch watch(int interval_ms,
                    std::function<void(const std::vector<DeviceStatus>&)> callback) const;
  /// Describes or changes a simulated accelerator, also while it runs: memory=SIZE, gflops=N,
  /// launch_us=N, copy_gbps=N, slow=FACTOR, seed=N, order=fifo|shuffled; and faults: fail_alloc=N,
  /// fail_alloc_from=N, fail_op=N, gone=1, hang=1, heal=1. Errors: invalid_argument.
  void describe_sim(std::string_view name, std::string_view description);

  const std::shared_ptr<DeviceSet>& impl() const { return impl_; }

 private:
  std::shared_ptr<DeviceSet> impl_;
};

/// One replica of a model: where it is.
struct Placement {
  std::string device;       ///< "sim:0"
  std::string description;  ///< of the device
  std::string dtype;        ///< storage of the weights: "f32", "f16", "bf16", "int8"
  int threads = 0;          ///< of a cpu; 0 elsewhere
  std::vector<int> cores;   ///< that its threads are pinned to; empty = not pinned
  size_t weight_bytes = 0;
  size_t workspace_bytes = 0;   ///< now; grows with the largest batch, see Reranker::trim
  size_t batch_tokens = 0;      ///< of a batch; less after the device ran out of memory
  bool on_device = false;       ///< the device itself says that weights and workspace are its own
  bool shares_weights = false;  ///< with another replica of this list
  bool retired = false;         ///< failed, and out of service
  std::string error;            ///< why it was retired
  uint64_t batches = 0;         ///< that it has run
  uint64_t tokens = 0;
  double busy_ms = 0;          ///< that it has computed
  uint64_t out_of_memory = 0;  ///< times that a batch had to be split
};

/// What a move did.
struct MoveReport {
  std::string from;     ///< "cpu"; empty at load
  std::string to;       ///< "sim:0,sim:1"
  std::string reason;   ///< of "auto": what was chosen, and why
  double load_ms = 0;   ///< to place the new replicas, while the old ones served where that fits
  double pause_ms = 0;  ///< during which no replica served
  size_t weight_bytes = 0;
};

/// A shape to warm up with: this many sequences of this many tokens.
struct WarmupShape {
  size_t sequences = 1;
  size_t tokens = 64;
};

struct WarmupOptions {
  std::vector<WarmupShape> shapes;  ///< empty = those seen so far, else a short and a full batch
  int limit_ms = 10000;             ///< no shape is begun after this
};

struct WarmupResult {
  std::string device;
  WarmupShape shape;
  double first_ms = 0;
  double second_ms = 0;
  bool skipped = false;  ///< the time was up
  std::string error;     ///< empty if it ran
};

}  // namespace tamis
