// What the doctor finds of cores and host memory.

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/byte_size.h"
#include "base/fail.h"
#include "engine/doctor.h"

namespace tamis::doctor {
namespace {

// Below this share of the cores that it may use, Tamis competes with other programs.
constexpr double kEnoughIdle = 0.75;

void examine_isa(const HostQuestions& q, Findings& out) {
  const std::string& best = q.isas.front();
  const bool known =
      q.isa.empty() || std::find(q.isas.begin(), q.isas.end(), q.isa) != q.isas.end();
  if (!known) {
    out.push_back(
        {"cpu.isa", Severity::kProblem, "The instruction set asked for is not here",
         fmt::format("asked for: {}; this machine has: {}", q.isa, fmt::join(q.isas, ", ")),
         fmt::format("leave out --isa, or --isa {}", best)});
  } else if (!q.isa.empty() && q.isa != best) {
    out.push_back({"cpu.isa", Severity::kWarning, "A better instruction set is left unused",
                   fmt::format("asked for: {}; the best here: {}", q.isa, best),
                   fmt::format("leave out --isa, or --isa {}", best)});
  } else if (best == "sse4" || best == "baseline") {
    out.push_back({"cpu.isa", Severity::kInfo, "This processor has no AVX2",
                   fmt::format("{} is the best here; processors with AVX2 do several times more "
                               "arithmetic in the same time",
                               best),
                   "in a virtual machine, pass the host's processor through (qemu: -cpu host)"});
  } else {
    out.push_back({"cpu.isa", Severity::kOk, "Instruction set",
                   fmt::format("{}, the best of this processor", best), ""});
  }
}

void examine_cores(const HostProbe& host, const HostQuestions& q, Findings& out) {
  const auto cores = static_cast<int>(host.cores().size());
  const double quota = host.quota_cores();
  const int usable = host.usable_cores();
  if (quota < cores) {
    out.push_back(
        {"cpu.quota", Severity::kWarning, "A CPU quota holds this process back",
         fmt::format("the control group allows {:.3g} of {} cores' time", quota, cores),
         fmt::format("give the container more: docker run --cpus {}, or a higher limits.cpu "
                     "in Kubernetes",
                     cores)});
  }
  const std::string have = fmt::format("{} of {} cores may be used", usable, cores);
  if (q.threads > usable) {
    out.push_back({"cpu.threads", Severity::kWarning, "More threads than cores",
                   fmt::format("{} threads asked for, {}; threads then wait for each other's core",
                               q.threads, have),
                   fmt::format("leave out --threads, or --threads {}", usable)});
  } else if (q.threads > 0 && q.threads < usable) {
    out.push_back({"cpu.threads", Severity::kInfo, "Some cores are left alone",
                   fmt::format("{} threads asked for, {}", q.threads, have),
                   "leave out --threads to use all of them"});
  } else {
    out.push_back({"cpu.threads", Severity::kOk, "Threads",
                   fmt::format("{}, one for each core that may be used", usable), ""});
  }
  if (q.omp_num_threads && !q.omp_num_threads->empty()) {
    out.push_back(
        {"cpu.omp", Severity::kInfo, "OMP_NUM_THREADS does not count here",
         fmt::format("it is set to \"{}\"; Tamis has threads of its own", *q.omp_num_threads),
         fmt::format("to choose their number: --threads {}", usable)});
  }
}

void examine_load(const HostProbe& host, const HostQuestions& q, Findings& out) {
  size_t all = 0;
  for (const NumaNode& node : host.numa_nodes()) all += node.cores.size();
  const auto cores = static_cast<double>(std::max<size_t>(all, 1));
  const double percent = utilisation_percent(q.before, q.after);
  const double busy = percent >= 0 ? cores * percent / 100 : q.after.load_average;
  const double idle = std::max(0.0, cores - busy);
  const int usable = host.usable_cores();
  const std::string what =
      fmt::format("{:.1f} of {} cores were busy before Tamis did anything; load average {:.1f}",
                  std::min(busy, cores), all, q.after.load_average);
  if (idle < kEnoughIdle * usable) {
    out.push_back({"cpu.load", Severity::kWarning, "Other programs use the cores", what,
                   fmt::format("top -o %CPU shows which; or leave them their cores: --threads {}",
                               std::max(1, static_cast<int>(std::lround(idle))))});
  } else {
    out.push_back({"cpu.load", Severity::kOk, "The cores are free", what, ""});
  }
}

void examine_numa(const HostProbe& host, const HostQuestions& q, Findings& out) {
  std::vector<std::string> names;
  const std::vector<int> allowed = host.cores();
  for (const NumaNode& node : host.numa_nodes()) {
    const bool ours = std::any_of(node.cores.begin(), node.cores.end(), [&](int core) {
      return std::find(allowed.begin(), allowed.end(), core) != allowed.end();
    });
    if (ours) names.push_back(fmt::format("cpu:{}", node.id));
  }
  if (names.size() < 2) return;
  const std::string list = fmt::format("{}", fmt::join(names, ","));
  std::vector<DeviceName> asked;
  try {
    asked = parse_device_names(q.device);
  } catch (const Error&) {  // examine_names says so
  }
  const bool whole = std::any_of(asked.begin(), asked.end(), [](const DeviceName& name) {
    return name.kind == "cpu" && name.index < 0;
  });
  if (whole) {
    out.push_back({"cpu.numa", Severity::kInfo, "One replica spans several NUMA nodes",
                   fmt::format("{} nodes; threads read part of the weights from the memory of "
                               "another node",
                               names.size()),
                   fmt::format("a replica for each node: --device {}", list)});
  } else {
    out.push_back(
        {"cpu.numa", Severity::kOk, "NUMA", fmt::format("{} nodes: {}", names.size(), list), ""});
  }
}

}  // namespace

void examine_cpu(const HostProbe& host, const HostQuestions& questions, Findings& findings) {
  examine_isa(questions, findings);
  examine_cores(host, questions, findings);
  examine_load(host, questions, findings);
  examine_numa(host, questions, findings);
}

void examine_host_memory(const HostProbe& host, Findings& findings) {
  const HostMemory memory = host.memory();
  if (memory.limit_bytes > 0) {
    const bool group = memory.limited_by != "machine";
    findings.push_back(
        {"memory.host", group ? Severity::kInfo : Severity::kOk,
         group ? "A control group limits the memory" : "Host memory",
         group ? fmt::format("{} of the machine's {}, of which {} are free ({})",
                             format_bytes(memory.limit_bytes), format_bytes(memory.total_bytes),
                             format_bytes(memory.free_bytes), memory.limited_by)
               : fmt::format("{} free of {}", format_bytes(memory.free_bytes),
                             format_bytes(memory.total_bytes)),
         group ? "give the container more if a model does not fit: docker run --memory 16g" : ""});
  }
  const std::string pages = host.huge_pages();
  if (pages == "never") {
    findings.push_back({"memory.huge_pages", Severity::kWarning, "Huge pages are switched off",
                        "a gigabyte of weights then lies in 262,144 pages of 4 KiB, more than the "
                        "processor keeps track of",
                        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"});
  } else if (!pages.empty()) {
    findings.push_back({"memory.huge_pages", Severity::kOk, "Huge pages",
                        pages == "madvise" ? "given where asked for (madvise), as Tamis does"
                                           : fmt::format("{}", pages),
                        ""});
  }
}

}  // namespace tamis::doctor
