// The only file that knows the concrete backends.

#include <fmt/ranges.h>

#include <algorithm>

#include "backend/cpu/cpu_device.h"
#include "backend/cuda/plugin.h"
#include "backend/ref/ref_device.h"
#include "backend/sim/sim_device.h"
#include "base/fail.h"
#include "device/device_set.h"

namespace tamis {
namespace {

/// A node's cores that this process may use.
std::vector<int> node_cores(const HostProbe& host, const NumaNode& node) {
  std::vector<int> out;
  const std::vector<int> allowed = host.cores();
  for (int core : node.cores) {
    if (std::find(allowed.begin(), allowed.end(), core) != allowed.end()) out.push_back(core);
  }
  return out;
}

}  // namespace

DeviceSet::DeviceSet(const DeviceSetOptions& options)
    : host_(options.host_root),
      nvml_library_(options.nvml_library),
      cuda_plugin_(options.cuda_plugin),
      cuda_options_(options.cuda_options) {
  parse_cuda_options(cuda_options_);  // a wrong one is told at once
  int index = 0;
  for (const std::string& description : options.sims) {
    describe_sim({"sim", index++}, description);
  }
}

DeviceSet::~DeviceSet() = default;

void DeviceSet::describe_sim(const DeviceName& name, std::string_view description) {
  if (name.kind != "sim") {
    fail(ErrorCode::kInvalidArgument, "{} is not a simulated device", name.text());
  }
  const std::lock_guard lock(mutex_);
  const auto known = sims_.find(name.index);
  const auto state = known != sims_.end() ? known->second : std::make_shared<SimState>();
  state->apply(description);
  sims_[name.index] = state;
}

std::shared_ptr<Device> DeviceSet::open(const DeviceName& name, const std::string& isa) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<Device>& known = devices_[{name, isa}];
  auto device = known.lock();
  if (!device) known = device = make(name, isa);
  return device;
}

std::shared_ptr<Device> DeviceSet::make(const DeviceName& name, const std::string& isa) {
  if (name.kind == "ref") return make_ref_device(host_);
  if (name.kind == "cpu" && name.index < 0) return make_cpu_device({"cpu", {}, -1, isa}, host_);
  if (name.kind == "cpu") {
    std::vector<std::string> nodes;
    for (const NumaNode& node : host_.numa_nodes()) {
      nodes.push_back(fmt::format("cpu:{}", node.id));
      if (node.id != name.index) continue;
      const std::vector<int> cores = node_cores(host_, node);
      if (cores.empty()) {
        fail(ErrorCode::kUnavailable, "{}: this process may use none of the node's cores",
             name.text());
      }
      return make_cpu_device({name.text(), cores, node.id, isa}, host_);
    }
    fail(ErrorCode::kInvalidArgument, "no device \"{}\"; NUMA nodes here: {}", name.text(),
         fmt::join(nodes, ", "));
  }
  if (name.kind == "sim") {
    std::shared_ptr<SimState>& state = sims_[name.index];
    if (!state) state = std::make_shared<SimState>();
    // A device of its own, so that nobody who lists the cpu finds it in use.
    return make_sim_device(name.text(), state, make_cpu_device({"cpu", {}, -1, isa}, host_));
  }
  try {
    return open_cuda_plugin(cuda_plugin_)
        .make_device(std::max(0, name.index), parse_cuda_options(cuda_options_));
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kUnimplemented) throw;
    fail(e.code(), "no device \"{}\": {}; models run on cpu, or on a simulated device", name.text(),
         e.what());
  }
}

std::shared_ptr<Device> DeviceSet::opened(const DeviceName& name) const {
  for (const auto& [key, weak] : devices_) {
    if (key.first == name) {
      if (auto device = weak.lock()) return device;
    }
  }
  return nullptr;
}

std::vector<KnownDevice> DeviceSet::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<KnownDevice> out = list_host();
  add_gpus(out);
  add_sims(out);
  return out;
}

std::vector<KnownDevice> DeviceSet::list_host() const {
  std::vector<KnownDevice> out;
  const HostMemory memory = host_.memory();
  const CpuTimes now = host_.cpu_times();
  KnownDevice cpu;
  cpu.name = {"cpu", -1};
  cpu.description =
      fmt::format("{}, {} cores, {}", host_.cpu_model(), host_.cores().size(), cpu_isas().front());
  cpu.memory = {memory.limit_bytes, memory.free_bytes};
  cpu.utilisation_percent = utilisation_percent(last_times_, now);
  cpu.opened = opened(cpu.name);
  last_times_ = now;
  out.push_back(std::move(cpu));
  for (const NumaNode& node : host_.numa_nodes()) {
    KnownDevice d;
    d.name = {"cpu", node.id};
    const std::vector<int> cores = node_cores(host_, node);
    d.description = fmt::format("NUMA node {}, {} cores", node.id, cores.size());
    d.usable = !cores.empty();
    if (!d.usable) d.problem = "this process may use none of its cores";
    d.memory = {std::min(node.total_bytes, memory.limit_bytes),
                std::min(node.free_bytes, memory.free_bytes)};
    d.opened = opened(d.name);
    out.push_back(std::move(d));
  }
  return out;
}

void DeviceSet::add_sims(std::vector<KnownDevice>& out) const {
  for (const auto& [index, state] : sims_) {
    KnownDevice d;
    d.name = {"sim", index};
    d.opened = opened(d.name);
    const SimOptions options = state->options();
    d.memory = {options.memory_bytes, options.memory_bytes};
    d.description = options.description();
    try {
      state->require_alive(d.name.text());
      if (d.opened) d.memory = d.opened->memory();
    } catch (const Error& e) {
      d.usable = false;
      d.problem = e.what();
    }
    out.push_back(std::move(d));
  }
}

namespace {

/// An open device says what memory it has, or that it has failed.
void ask_if_open(KnownDevice& d) {
  if (!d.opened) return;
  try {
    d.memory = d.opened->memory();
  } catch (const Error& e) {
    d.usable = false;
    d.problem = e.what();
  }
}

}  // namespace

void DeviceSet::add_gpus(std::vector<KnownDevice>& out) const {
  std::vector<GpuStatus> gpus;
  if (load_nvml() != nullptr) {
    try {
      gpus = nvml_->gpus();
    } catch (const Error& e) {
      nvml_problem_ = e.what();
    }
  }
  for (GpuStatus& gpu : gpus) {
    KnownDevice d;
    d.name = {"cuda", gpu.index};
    d.description = gpu.name;
    d.problem = gpu.problem.empty() ? cuda_problem() : gpu.problem;
    d.usable = d.problem.empty();
    d.memory = {gpu.total_bytes, gpu.free_bytes};
    d.utilisation_percent = gpu.utilisation_percent;
    d.processes = std::move(gpu.processes);
    d.opened = opened(d.name);
    ask_if_open(d);  // NVML does not know of a context that has failed
    out.push_back(std::move(d));
  }
  // What is open is known without NVML too.
  for (const auto& [key, weak] : devices_) {
    const auto device = weak.lock();
    if (!device || key.first.kind != "cuda") continue;
    if (static_cast<size_t>(key.first.index) < gpus.size()) continue;
    KnownDevice d;
    d.name = key.first;
    d.opened = device;
    ask_if_open(d);
    out.push_back(std::move(d));
  }
}

/// Why GPUs cannot be used, as far as that shows without touching one; "" if nothing speaks against
/// it.
std::string DeviceSet::cuda_problem() const {
  try {
    const int wanted = open_cuda_plugin(cuda_plugin_).cuda_version;
    const int known = nvml_->cuda_version();
    if (known == 0 || known / 1000 >= wanted / 1000) return {};
    return fmt::format("the driver knows CUDA {}.{}, the CUDA plug-in needs {}.{}", known / 1000,
                       known % 1000 / 10, wanted / 1000, wanted % 1000 / 10);
  } catch (const Error& e) {
    return e.what();
  }
}

const Nvml* DeviceSet::load_nvml() const {
  if (!nvml_tried_) nvml_ = Nvml::open(nvml_library_, &nvml_problem_);
  nvml_tried_ = true;
  return nvml_.get();
}

const Nvml* DeviceSet::nvml(std::string* why) const {
  const std::lock_guard lock(mutex_);
  const Nvml* out = load_nvml();
  if (why != nullptr) *why = nvml_problem_;
  return out;
}

}  // namespace tamis
