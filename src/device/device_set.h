#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/host.h"
#include "device/device.h"
#include "device/device_name.h"
#include "device/nvml.h"

namespace tamis {

class SimState;

struct DeviceSetOptions {
  std::vector<std::string> sims;
  std::string nvml_library = "libnvidia-ml.so.1";
  std::filesystem::path host_root = "/";
  std::string cuda_plugin = {};   ///< a path, or "" for the one beside us
  std::string cuda_options = {};  ///< as parse_cuda_options takes them
};

/// A device that exists, opened or not.
struct KnownDevice {
  DeviceName name;
  std::string description;
  bool usable = true;
  std::string problem;  ///< why it is not usable
  MemoryInfo memory;
  double utilisation_percent = -1;
  std::vector<GpuProcess> processes;
  std::shared_ptr<Device> opened;  ///< null: nobody uses it
};

/// The devices of this machine, each opened when a model is placed on it, shared by all that use it
/// then, and closed when the last of them leaves. Implemented beside the backends, the only place
/// that names them (src/backend/registry.cc). Thread rule: any thread.
class DeviceSet {
 public:
  explicit DeviceSet(const DeviceSetOptions& options);
  ~DeviceSet();

  /// isa: of a cpu; "" = the best. Errors: invalid_argument (there is no such device: lists those
  /// that exist; or no such isa), unimplemented (this build cannot use it).
  std::shared_ptr<Device> open(const DeviceName& name, const std::string& isa = "");
  /// Every device, without opening any.
  std::vector<KnownDevice> list() const;
  void describe_sim(const DeviceName& name, std::string_view description);
  const HostProbe& host() const { return host_; }
  /// Null where there is no NVIDIA driver; then *why says so.
  const Nvml* nvml(std::string* why = nullptr) const;

 private:
  std::shared_ptr<Device> make(const DeviceName& name, const std::string& isa);
  std::vector<KnownDevice> list_host() const;
  void add_sims(std::vector<KnownDevice>& out) const;
  void add_gpus(std::vector<KnownDevice>& out) const;
  std::shared_ptr<Device> opened(const DeviceName& name) const;
  const Nvml* load_nvml() const;
  std::string cuda_problem() const;

  HostProbe host_;
  std::string nvml_library_;
  std::string cuda_plugin_;
  std::string cuda_options_;
  mutable std::mutex mutex_;
  mutable bool nvml_tried_ = false;
  mutable std::string nvml_problem_;
  mutable std::unique_ptr<Nvml> nvml_;
  mutable CpuTimes last_times_;
  std::map<std::pair<DeviceName, std::string>, std::weak_ptr<Device>> devices_;
  std::map<int, std::shared_ptr<SimState>> sims_;
};

/// Instruction sets of the cpu device on this machine, best first.
std::vector<std::string> cpu_isas();

/// Operations a second that so many threads can do with everything in registers (f32) or in L1
/// (int8), measured in a moment. "" = the best isa. Errors: invalid_argument (isa).
double cpu_peak(const std::string& isa, bool int8, int threads);

}  // namespace tamis
