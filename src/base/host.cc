#include "base/host.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "base/cgroup.h"
#include "base/system_files.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxCores = 1 << 16;  // Linux allows 8,192

// A set of cores that may be larger than cpu_set_t.
struct CoreSet {
  explicit CoreSet(int cores) : bytes(CPU_ALLOC_SIZE(cores)), set(CPU_ALLOC(cores)) {
    if (set) CPU_ZERO_S(bytes, set.get());
  }
  struct Free {
    void operator()(cpu_set_t* p) const { CPU_FREE(p); }
  };
  size_t bytes;
  std::unique_ptr<cpu_set_t, Free> set;
};

std::vector<int> affinity() {
  std::vector<int> out;
  // The system refuses a set that is smaller than its own.
  for (int room = 1024; room <= kMaxCores && out.empty(); room *= 4) {
    const CoreSet cores(room);
    if (!cores.set || sched_getaffinity(0, cores.bytes, cores.set.get()) != 0) continue;
    for (int core = 0; core < room; ++core) {
      if (CPU_ISSET_S(core, cores.bytes, cores.set.get())) out.push_back(core);
    }
  }
  if (!out.empty()) return out;
  const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (int core = 0; core < all; ++core) out.push_back(core);
  return out;
}

// Lowers `value` to `other`, and says in `by` who did so. 0 is unknown.
void lower(size_t& value, std::string& by, size_t other, const std::string& who) {
  if (!by.empty() && other >= value) return;
  value = other;
  by = who;
}

// What a node or the machine has free according to the text of its meminfo.
size_t free_and_cache(const std::string& text, const std::string& prefix) {
  size_t out = 0;
  for (const char* name : {"MemFree:", "Active(file):", "Inactive(file):"}) {
    out += kilobytes_of(text, prefix + name);
  }
  return out;
}

size_t machine_free(const std::string& meminfo) {
  // Kernels before 3.14 have no MemAvailable.
  if (number_of(meminfo, "MemAvailable:")) return kilobytes_of(meminfo, "MemAvailable:");
  return free_and_cache(meminfo, "");
}

NumaNode read_node(const fs::path& directory, int id) {
  NumaNode out;
  out.id = id;
  out.cores = parse_cpu_list(read_system_file(directory / "cpulist"));
  const std::string meminfo = read_system_file(directory / "meminfo");
  const std::string prefix = "Node " + std::to_string(id) + " ";
  out.total_bytes = kilobytes_of(meminfo, prefix + "MemTotal:");
  out.free_bytes = free_and_cache(meminfo, prefix);
  return out;
}

// N of "nodeN"; -1 for another name.
int node_number(const std::string& name) {
  int id = -1;
  if (!name.starts_with("node")) return -1;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + 4, end, id);
  return parsed.ec == std::errc{} && parsed.ptr == end ? id : -1;
}

std::vector<NumaNode> listed_nodes(const fs::path& root) {
  std::vector<NumaNode> out;
  std::error_code error;
  fs::directory_iterator entry(below(root, "/sys/devices/system/node"), error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const int id = node_number(entry->path().filename().string());
    if (id >= 0) out.push_back(read_node(entry->path(), id));
  }
  std::sort(out.begin(), out.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.id < b.id; });
  return out;
}

}  // namespace

double utilisation_percent(const CpuTimes& before, const CpuTimes& after) {
  if (after.total_ticks <= before.total_ticks || after.busy_ticks < before.busy_ticks) return -1;
  const double busy = static_cast<double>(after.busy_ticks - before.busy_ticks);
  return std::min(100.0, 100 * busy / static_cast<double>(after.total_ticks - before.total_ticks));
}

HostProbe::HostProbe(fs::path root, std::vector<int> cores)
    : root_(std::move(root)), given_cores_(std::move(cores)) {}

HostMemory HostProbe::memory() const {
  HostMemory out;
  const std::string meminfo = read_system_file(below(root_, "/proc/meminfo"));
  out.total_bytes = kilobytes_of(meminfo, "MemTotal:");
  if (out.total_bytes > 0) {
    lower(out.limit_bytes, out.limited_by, out.total_bytes, "machine");
    lower(out.free_bytes, out.free_limited_by, machine_free(meminfo), "machine");
  }
  for (const CgroupMemory& group : cgroup_memory(root_)) {
    lower(out.limit_bytes, out.limited_by, group.limit_bytes, group.where);
    lower(out.free_bytes, out.free_limited_by, group.free_bytes, group.where);
  }
  const std::string status = read_system_file(below(root_, "/proc/self/status"));
  out.process_bytes = kilobytes_of(status, "VmRSS:");
  out.process_peak_bytes = kilobytes_of(status, "VmHWM:");
  out.process_anonymous_bytes = kilobytes_of(status, "RssAnon:");
  return out;
}

std::vector<NumaNode> HostProbe::numa_nodes() const {
  std::vector<NumaNode> out = listed_nodes(root_);
  if (out.empty()) {
    out.emplace_back();
    out[0].cores = parse_cpu_list(read_system_file(below(root_, "/sys/devices/system/cpu/online")));
    if (out[0].cores.empty()) out[0].cores = cores();
  }
  if (out.size() == 1) {
    // Virtual machines were seen whose node knows nothing of memory that was added to them later.
    const std::string meminfo = read_system_file(below(root_, "/proc/meminfo"));
    const size_t total = kilobytes_of(meminfo, "MemTotal:");
    if (total > 0) {
      out[0].total_bytes = total;
      out[0].free_bytes = machine_free(meminfo);
    }
  }
  return out;
}

std::vector<int> HostProbe::cores() const {
  return given_cores_.empty() ? affinity() : given_cores_;
}

double HostProbe::quota_cores() const { return cgroup_quota_cores(root_); }

int HostProbe::usable_cores() const {
  const auto allowed = static_cast<int>(cores().size());
  const double quota = quota_cores();
  return quota >= allowed ? allowed : std::max(1, static_cast<int>(quota + 0.5));
}

CpuTimes HostProbe::cpu_times() const {
  CpuTimes out;
  const std::string stat = read_system_file(below(root_, "/proc/stat"));
  const std::string_view first = std::string_view(stat).substr(0, stat.find('\n'));
  if (first.starts_with("cpu ")) {
    // user nice system idle iowait irq softirq steal; what follows is a part of user and nice.
    const char* at = first.data() + 4;
    const char* const end = first.data() + first.size();
    for (int field = 0; field < 8; ++field) {
      while (at < end && *at == ' ') ++at;
      uint64_t ticks = 0;
      const auto parsed = std::from_chars(at, end, ticks);
      if (parsed.ec != std::errc{}) break;
      at = parsed.ptr;
      out.total_ticks += ticks;
      if (field != 3 && field != 4) out.busy_ticks += ticks;
    }
  }
  out.runnable = static_cast<int>(number_of(stat, "procs_running").value_or(0));
  const std::string load = read_system_file(below(root_, "/proc/loadavg"));
  std::from_chars(load.data(), load.data() + load.size(), out.load_average);
  return out;
}

std::string HostProbe::cpu_model() const {
  const std::string text = read_system_file(below(root_, "/proc/cpuinfo"));
  for (const std::string_view line : lines_of(text)) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return "";
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string_view::npos ? "" : std::string(line.substr(begin));
  }
  return "";
}

std::string HostProbe::huge_pages() const {
  // "always [madvise] never"
  const std::string text =
      read_system_file(below(root_, "/sys/kernel/mm/transparent_hugepage/enabled"));
  const size_t begin = text.find('['), end = text.find(']');
  return begin < end && end != std::string::npos ? text.substr(begin + 1, end - begin - 1) : "";
}

std::string HostProbe::process_name(int64_t pid) const {
  std::string name = read_system_file(below(root_, "/proc") / std::to_string(pid) / "comm");
  name.resize(std::min(name.find('\n'), name.size()));
  // A process chooses its own name, and it ends up on a terminal.
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

int usable_cores() { return HostProbe().usable_cores(); }

bool pin_this_thread(std::span<const int> cores) {
  if (cores.empty()) return true;
  const int highest = *std::max_element(cores.begin(), cores.end());
  if (*std::min_element(cores.begin(), cores.end()) < 0 || highest >= kMaxCores) return false;
  const CoreSet set(highest + 1);
  if (!set.set) return false;
  for (const int core : cores) CPU_SET_S(core, set.bytes, set.set.get());
  return sched_setaffinity(0, set.bytes, set.set.get()) == 0;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == 0) return "localhost";
  std::string out(name.data());
  std::replace(out.begin(), out.end(), '/', '_');
  return out;
}

}  // namespace tamis
