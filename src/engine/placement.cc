#include "engine/placement.h"

#include <algorithm>
#include <cctype>

#include "base/byte_size.h"
#include "base/fail.h"
#include "model/workspace.h"

namespace tamis {
namespace {

/// Cores and threads of one of the replicas that name the same cpu: they split what there is. One
/// alone is not held to cores, unless it has a NUMA node to stay on.
StreamOptions cpu_share(const Device& device, int threads, size_t index, size_t replicas) {
  StreamOptions out;
  const std::vector<int>& all = device.info().cores;
  const size_t usable = std::min(all.size(), static_cast<size_t>(usable_cores()));
  const size_t wanted = threads > 0 ? static_cast<size_t>(threads) : usable;
  out.threads = static_cast<int>(std::max<size_t>(1, wanted / replicas));
  if (replicas == 1 && !device.info().pinned) return out;
  const size_t begin = index * all.size() / replicas, end = (index + 1) * all.size() / replicas;
  for (size_t i = begin; i < std::max(end, begin + 1); ++i) {
    out.cores.push_back(all[std::min(i, all.size() - 1)]);
  }
  return out;
}

/// The accelerator with the most free memory, if the model fits there, else the cpu.
DeviceName choose(const HostModel& model, DeviceSet& devices, const PlacementOptions& options,
                  std::string& reason) {
  const auto cpu = devices.open({"cpu", -1}, options.isa);
  const TensorView& words = model.tensors.at(Slot::kWords);
  const size_t tokens = options.batch_tokens > 0 ? options.batch_tokens : 4096;
  const size_t needed = weight_bytes(model, *cpu, options.dtype) + words.bytes.size() +
                        Workspace::bytes_for(model, *cpu, {}, options.dtype, tokens);
  const KnownDevice* best = nullptr;
  const auto all = devices.list();
  for (const KnownDevice& d : all) {
    if (d.name.kind == "cpu") continue;
    reason += fmt::format("{}{} ", reason.empty() ? "" : ", ", d.name.text());
    reason += d.usable ? fmt::format("has {} free", format_bytes(d.memory.free_bytes))
                       : fmt::format("is not usable ({})", d.problem);
    if (!d.usable || d.memory.free_bytes < needed) continue;
    if (best == nullptr || d.memory.free_bytes > best->memory.free_bytes) best = &d;
  }
  const DeviceName chosen = best != nullptr ? best->name : DeviceName{"cpu", -1};
  reason = fmt::format("auto chose {}: about {} needed; {}", chosen.text(), format_bytes(needed),
                       reason.empty() ? "there is no accelerator" : reason);
  return chosen;
}

}  // namespace

PlacementPlan plan_placement(const HostModel& model, DeviceSet& devices,
                             const std::vector<DeviceName>& asked,
                             const PlacementOptions& options) {
  PlacementPlan plan;
  std::vector<DeviceName> names = asked;
  if (names.size() == 1 && names[0].kind == "auto") {
    names[0] = choose(model, devices, options, plan.reason);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    PlannedReplica replica;
    replica.device = devices.open(names[i], options.isa);
    const DeviceInfo& info = replica.device->info();
    if (info.kind == "cpu") {
      const auto before =
          std::count(names.begin(), names.begin() + static_cast<ptrdiff_t>(i), names[i]);
      const auto all = std::count(names.begin(), names.end(), names[i]);
      replica.stream = cpu_share(*replica.device, options.threads, static_cast<size_t>(before),
                                 static_cast<size_t>(all));
    }
    replica.batch_tokens = options.batch_tokens > 0 ? options.batch_tokens : info.batch_tokens;
    replica.workspace_bytes = Workspace::bytes_for(model, *replica.device, replica.stream,
                                                   options.dtype, replica.batch_tokens);
    auto it = std::find_if(plan.devices.begin(), plan.devices.end(),
                           [&](const auto& d) { return d.device == replica.device; });
    if (it == plan.devices.end()) {
      PlannedDevice device;
      device.device = replica.device;
      device.weight_bytes = weight_bytes(model, *replica.device, options.dtype);
      device.batch_tokens = replica.batch_tokens;
      it = plan.devices.insert(plan.devices.end(), std::move(device));
    }
    it->streams.push_back(replica.stream);
    it->workspace_bytes += replica.workspace_bytes;
    plan.replicas.push_back(std::move(replica));
  }
  return plan;
}

namespace {

/// "dtype bf16 (0.61 GB)", "batches of 256 tokens (...)"; empty if nothing helps.
std::string what_would_fit(const HostModel& model, const PlannedDevice& plan,
                           const PlacementOptions& options, size_t available) {
  std::vector<std::string> ways;
  for (size_t tokens = plan.batch_tokens / 2; tokens >= 64; tokens /= 2) {
    size_t needed = plan.weight_bytes;
    for (const StreamOptions& stream : plan.streams) {
      needed += Workspace::bytes_for(model, *plan.device, stream, options.dtype, tokens);
    }
    if (needed > available) continue;
    ways.push_back(fmt::format("batches of {} tokens ({})", tokens, format_bytes(needed)));
    break;
  }
  if (options.dtype == DType::kF32) {
    const size_t needed = weight_bytes(model, *plan.device, DType::kF16) + plan.workspace_bytes;
    if (needed <= available) {
      ways.push_back(fmt::format("dtype f16 or bf16 ({})", format_bytes(needed)));
    }
  }
  if (ways.empty()) return "neither a 16-bit dtype nor smaller batches would fit";
  std::string out = "what would fit: " + ways[0];
  if (ways.size() > 1) out += ", or " + ways[1];
  return out;
}

}  // namespace

void check_fits(const HostModel& model, const PlannedDevice& plan, const PlacementOptions& options,
                size_t in_use, size_t freed) {
  const MemoryInfo memory = plan.device->memory();
  size_t available = memory.free_bytes + freed;
  std::string of = fmt::format("free of {}", format_bytes(memory.total_bytes));
  if (memory.total_bytes == 0) available = static_cast<size_t>(-1);  // unknown: find out by trying
  if (options.memory_limit_bytes) {
    const size_t limit = *options.memory_limit_bytes;
    const size_t left = limit - std::min(limit, in_use);
    if (left < available) {
      available = left;
      of = fmt::format("left of the memory limit of {}", format_bytes(limit));
    }
  }
  if (plan.needed() <= available) return;
  fail(
      ErrorCode::kResourceExhausted,
      "{}: {} needed ({} weights in {}, {} workspace for batches of {} tokens), {} available ({}); "
      "{}",
      plan.device->info().name, format_bytes(plan.needed()), format_bytes(plan.weight_bytes),
      dtype_text(options.dtype), format_bytes(plan.workspace_bytes), plan.batch_tokens,
      format_bytes(available), of, what_would_fit(model, plan, options, available));
}

MemoryPlan memory_plan(const HostModel& model, const PlannedDevice& plan) {
  MemoryPlan out;
  out.device = plan.device->info().name;
  if (plan.device->info().host_memory) {
    out.mapped_bytes = model.tensors.at(Slot::kWords).bytes.size();
  }
  out.weight_bytes = plan.weight_bytes;
  out.workspace_bytes = plan.workspace_bytes;
  out.batch_tokens = plan.batch_tokens;
  return out;
}

DType parse_dtype(std::string_view text) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    if (text == dtype_text(dtype)) return dtype;
  }
  fail(ErrorCode::kInvalidArgument, "no dtype \"{}\"; expected f32, f16, bf16 or int8", text);
}

std::string dtype_text(DType dtype) {
  if (dtype == DType::kI8) return "int8";
  std::string name(name_of(dtype));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace tamis
