// What the doctor finds of a model's place: whether it fits, what would, and where it came to lie.

#include <fmt/ranges.h>

#include <algorithm>

#include "base/byte_size.h"
#include "base/fail.h"
#include "engine/doctor.h"

namespace tamis::doctor {
namespace {

constexpr size_t kLeastBatch = 64;  // tokens; smaller ones are no advice
constexpr size_t kListedProcesses = 3;

struct Room {
  size_t available = 0;
  bool limited = false;  // by the user's own limit
};

Room room_on(const Device& device, const PlacementOptions& options) {
  const MemoryInfo memory = device.memory();
  Room out;
  out.available = memory.total_bytes > 0 ? memory.free_bytes : static_cast<size_t>(-1);
  if (options.memory_limit_bytes && *options.memory_limit_bytes < out.available) {
    out = {*options.memory_limit_bytes, true};
  }
  return out;
}

// As parse_bytes reads it back, to the byte.
std::string typed_bytes(size_t bytes) {
  size_t unit = 0;
  for (; unit < 3 && bytes >= 1000 && bytes % 1000 == 0; ++unit) bytes /= 1000;
  constexpr const char* kUnits[] = {"B", "KB", "MB", "GB"};
  return fmt::format("{}{}", bytes, kUnits[unit]);
}

std::string needed_text(const PlannedDevice& plan, const PlacementOptions& options) {
  return fmt::format("{} needed: {} weights in {}, {} workspace for batches of {} tokens",
                     format_bytes(plan.needed()), format_bytes(plan.weight_bytes),
                     dtype_text(options.dtype), format_bytes(plan.workspace_bytes),
                     plan.batch_tokens);
}

// Everything that others hold: other models by name, for a GPU processes too, else what is left as
// a sum.
std::string who_else(const DeviceSet& devices, const Device& device) {
  for (const KnownDevice& d : devices.list()) {
    if (d.name.text() != device.info().name) continue;
    std::vector<GpuProcess> processes = d.processes;
    std::sort(processes.begin(), processes.end(),
              [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
    std::vector<std::string> parts;
    for (const MemoryAccount::Use& use : device.accounts()) {
      if (use.used() > 0) {
        parts.push_back(fmt::format("\"{}\" has {}", use.model, format_bytes(use.used())));
      }
    }
    for (size_t i = 0; i < std::min(processes.size(), kListedProcesses); ++i) {
      parts.push_back(fmt::format("process {} {} has {}", processes[i].pid, processes[i].name,
                                  format_bytes(processes[i].bytes)));
    }
    const size_t taken = d.memory.total_bytes - std::min(d.memory.total_bytes, d.memory.free_bytes);
    const size_t own = device.used_bytes();
    if (processes.empty() && taken > own) {
      parts.push_back(fmt::format("{} are held by others", format_bytes(taken - own)));
    }
    const HostMemory host = devices.host().memory();
    if (device.info().host_memory && host.free_limited_by.starts_with("cgroup")) {
      parts.push_back(
          fmt::format("{} limits it to {}", host.free_limited_by, format_bytes(host.limit_bytes)));
    }
    return parts.empty() ? "" : fmt::format("; {}", fmt::join(parts, "; "));
  }
  return "";
}

// The device's part of the plan with other options; null where it is not in the plan.
std::optional<PlannedDevice> planned(const HostModel& model, DeviceSet& devices,
                                     const std::vector<DeviceName>& names, const Device& device,
                                     const PlacementOptions& options) {
  for (const PlannedDevice& d : plan_placement(model, devices, names, options).devices) {
    if (d.device.get() == &device) return d;
  }
  return std::nullopt;
}

std::string ways_out(const HostModel& model, DeviceSet& devices,
                     const std::vector<DeviceName>& names, const PlannedDevice& plan,
                     const PlacementOptions& options, const Room& room,
                     const std::string& command) {
  std::vector<std::string> ways;
  const std::string& name = plan.device->info().name;
  std::string list;
  for (const DeviceName& n : names) {
    list += fmt::format("{}{}", list.empty() ? "" : ",", n.text());
  }
  const auto attempt = [&](DType dtype, size_t tokens) {
    PlacementOptions other = options;
    other.dtype = dtype;
    other.batch_tokens = tokens;
    const auto d = planned(model, devices, names, *plan.device, other);
    if (!d || d->needed() > room.available) return false;
    std::string way = fmt::format("{} --device {}", command, list);
    if (dtype != options.dtype) way += fmt::format(" --dtype {}", dtype_text(dtype));
    if (tokens != plan.batch_tokens) way += fmt::format(" --batch-tokens {}", tokens);
    if (room.limited) way += fmt::format(" --memory-limit {}", typed_bytes(room.available));
    ways.push_back(fmt::format("{} ({})", way, format_bytes(d->needed())));
    return true;
  };
  const auto smaller = [&](DType dtype) {
    for (size_t tokens = plan.batch_tokens / 2; tokens >= kLeastBatch; tokens /= 2) {
      if (attempt(dtype, tokens)) return true;
    }
    return false;
  };
  smaller(options.dtype);
  if (options.dtype == DType::kF32 && !attempt(DType::kBF16, plan.batch_tokens) && ways.empty()) {
    smaller(DType::kBF16);
  }
  if (room.limited && plan.needed() <= room_on(*plan.device, PlacementOptions()).available) {
    // Rounded up to a megabyte, so that the number can be typed.
    ways.push_back(fmt::format("{} --device {} --memory-limit {}MB", command, list,
                               (plan.needed() + 999'999) / 1'000'000));
  }
  if (ways.empty() && !room.limited) {
    for (const KnownDevice& d : devices.list()) {
      const bool part = d.name.kind == "cpu" && d.name.index >= 0;  // of the cpu, named already
      if (!d.usable || part || d.name.text() == name) continue;
      if (d.memory.free_bytes < plan.needed()) continue;
      ways.push_back(fmt::format("{} --device {}", command, d.name.text()));
    }
  }
  if (ways.empty()) return "take a smaller model, or a device with more memory";
  return fmt::format("{}", fmt::join(ways, "; or "));
}

}  // namespace

bool examine_plan(const HostModel& model, DeviceSet& devices, const std::vector<DeviceName>& names,
                  const PlacementOptions& options, const std::string& command, Findings& findings) {
  const PlacementPlan plan = plan_placement(model, devices, names, options);
  if (!plan.reason.empty()) {
    findings.push_back({"device.auto", Severity::kOk, "What auto chose", plan.reason, ""});
  }
  bool all = true;
  for (const PlannedDevice& d : plan.devices) {
    const std::string& name = d.device->info().name;
    const MemoryInfo memory = d.device->memory();
    const Room room = room_on(*d.device, options);
    const std::string needed = needed_text(d, options);
    if (d.needed() <= room.available) {
      findings.push_back({"memory.plan", Severity::kOk, fmt::format("The model fits on {}", name),
                          fmt::format("{}; {} free of {}", needed, format_bytes(memory.free_bytes),
                                      format_bytes(memory.total_bytes)),
                          ""});
      continue;
    }
    all = false;
    std::vector<DeviceName> resolved = names;
    if (names[0].kind == "auto") resolved = {parse_device_name(name)};
    const std::string ways = ways_out(model, devices, resolved, d, options, room, command);
    if (room.limited) {
      findings.push_back({"memory.limit", Severity::kProblem,
                          fmt::format("The memory limit is too small for {}", name),
                          fmt::format("{}; {} available, which is the limit", needed,
                                      format_bytes(room.available)),
                          ways});
    } else {
      findings.push_back(
          {"memory.does_not_fit", Severity::kProblem,
           fmt::format("The model does not fit on {}", name),
           fmt::format("{}; {} available, free of {}{}", needed, format_bytes(memory.free_bytes),
                       format_bytes(memory.total_bytes), who_else(devices, *d.device)),
           ways});
    }
  }
  return all;
}

void examine_placement(const std::vector<Placement>& placement,
                       const std::vector<std::string>& asked, Findings& findings) {
  std::vector<std::string> there;
  for (const Placement& p : placement) {
    if (p.retired) {
      findings.push_back({"place.retired", Severity::kProblem,
                          fmt::format("{} failed and is out of service", p.device), p.error,
                          "see to the device, then load again; to run now: --device cpu"});
      continue;
    }
    there.push_back(p.device);
    if (!p.on_device) {
      findings.push_back({"place.elsewhere", Severity::kProblem,
                          fmt::format("Not all of the model is on {}", p.device),
                          "the device does not know the addresses of the weights or the workspace",
                          "report this as a defect of Tamis, with the output of tamis doctor "
                          "--format json"});
    }
    if (p.out_of_memory > 0) {
      findings.push_back({"place.out_of_memory", Severity::kWarning,
                          fmt::format("{} ran out of memory while it worked", p.device),
                          fmt::format("{} batches of up to {} tokens had to be cut in two",
                                      p.out_of_memory, p.batch_tokens),
                          fmt::format("--batch-tokens {}, or --dtype bf16",
                                      std::max(kLeastBatch, p.batch_tokens / 2))});
    }
  }
  std::vector<std::string> missing;
  for (const std::string& name : asked) {
    if (std::find(there.begin(), there.end(), name) == there.end()) missing.push_back(name);
  }
  if (!missing.empty()) {
    findings.push_back(
        {"place.missing", Severity::kProblem, "The model is not where it was asked",
         fmt::format("asked: {}; it is on: {}; not on: {}", fmt::join(asked, ","),
                     there.empty() ? "none" : fmt::format("{}", fmt::join(there, ",")),
                     fmt::join(missing, ",")),
         "tamis devices shows what is left; to run now: --device cpu"});
    return;
  }
  for (const Placement& p : placement) {
    if (p.retired || !p.on_device) continue;
    findings.push_back(
        {"place.where", Severity::kOk, fmt::format("The weights are on {}", p.device),
         fmt::format("{} in {}{}, says the device itself; {}", format_bytes(p.weight_bytes),
                     p.dtype, p.shares_weights ? " (shared)" : "", p.description),
         ""});
  }
}

}  // namespace tamis::doctor
