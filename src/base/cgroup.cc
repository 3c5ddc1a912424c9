#include "base/cgroup.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "base/system_files.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

// Where a hierarchy is mounted, and which of its groups is seen there.
struct Mount {
  std::string group;  // "/", or "/docker/1" where a container sees its own group alone
  std::string path;   // "/sys/fs/cgroup"
};

struct Level {
  bool v2;
  fs::path directory;
  std::string where;
};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t end = text.find(separator);
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

bool contains(const std::vector<std::string_view>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// This process's group in the hierarchy of `controller`; "" stands for version 2. A line of
// /proc/self/cgroup is <number>:<controllers>:<group>.
std::string own_group(const fs::path& root, std::string_view controller) {
  const std::string text = read_system_file(below(root, "/proc/self/cgroup"));
  for (const std::string_view line : lines_of(text)) {
    const size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view names = line.substr(first + 1, second - first - 1);
    const bool ours =
        controller.empty() ? line.starts_with("0::") : contains(split(names, ','), controller);
    if (ours) return std::string(line.substr(second + 1));
  }
  return "/";
}

// A line of /proc/self/mountinfo: id parent device root path options [tags...] - type source super.
std::optional<Mount> parse_mount(std::string_view line, std::string_view controller) {
  const size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto mount = split(line.substr(0, dash), ' ');
  const auto system = split(line.substr(dash + 3), ' ');
  if (mount.size() < 6 || system.size() < 3) return std::nullopt;
  const bool ours = controller.empty()
                        ? system[0] == "cgroup2"
                        : system[0] == "cgroup" && contains(split(system[2], ','), controller);
  if (!ours) return std::nullopt;
  return Mount{std::string(mount[3]), std::string(mount[4])};
}

// The part of `group` below the group that `mount` shows; empty if it is not below it.
std::optional<std::string> part_below(const std::string& group, const Mount& mount) {
  if (group.find("/..") != std::string::npos) return std::nullopt;  // outside our namespace
  if (mount.group == "/") return group;
  const bool inside = group.starts_with(mount.group) &&
                      (group.size() == mount.group.size() || group[mount.group.size()] == '/');
  if (!inside) return std::nullopt;
  return group.substr(mount.group.size());
}

// The directory of our group and the mount point above it.
struct Place {
  std::string mount_point;
  std::string group;
};

Place find_place(const fs::path& root, std::string_view controller) {
  const std::string group = own_group(root, controller);
  const std::string text = read_system_file(below(root, "/proc/self/mountinfo"));
  std::optional<Mount> any;
  for (const std::string_view line : lines_of(text)) {
    const std::optional<Mount> mount = parse_mount(line, controller);
    if (!mount) continue;
    if (const auto part = part_below(group, *mount)) return {mount->path, *part};
    if (!any) any = mount;
  }
  // A container's mount shows its own group as the top, whatever name the host has for it.
  if (any) return {any->path, ""};
  const Mount usual{"/", controller.empty() ? std::string("/sys/fs/cgroup")
                                            : "/sys/fs/cgroup/" + std::string(controller)};
  return {usual.path, part_below(group, usual).value_or("")};
}

void add_levels(const fs::path& root, std::string_view controller, std::vector<Level>& out) {
  const Place place = find_place(root, controller);
  const bool v2 = controller.empty();
  std::string group = place.group;
  while (group.ends_with('/')) group.pop_back();
  for (;;) {
    const std::string path = place.mount_point + group;
    out.push_back({v2, below(root, path), (v2 ? "cgroup v2 " : "cgroup v1 ") + path});
    if (group.empty()) return;
    const size_t slash = group.rfind('/');
    group.resize(slash == std::string::npos ? 0 : slash);
  }
}

// Both versions can be mounted at once, each controller belonging to one of them; the files of the
// other are not there.
std::vector<Level> levels(const fs::path& root, std::string_view controller) {
  std::vector<Level> out;
  add_levels(root, "", out);
  add_levels(root, controller, out);
  return out;
}

std::optional<uint64_t> number_in(const fs::path& path) {
  return leading_number(read_system_file(path));
}

// The file cache among what `memory.stat` counts; in version 1 the names with total_ include the
// groups below.
uint64_t cache_bytes(const Level& level) {
  const std::string stat = read_system_file(level.directory / "memory.stat");
  uint64_t out = 0;
  for (const char* name : {"inactive_file", "active_file"}) {
    const auto total = number_of(stat, std::string("total_") + name);
    out += level.v2 || !total ? number_of(stat, name).value_or(0) : *total;
  }
  return out;
}

}  // namespace

std::vector<CgroupMemory> cgroup_memory(const fs::path& root) {
  constexpr uint64_t kUnlimited = uint64_t{1} << 62;  // version 1 writes 2^63 less a page
  std::vector<CgroupMemory> out;
  for (const Level& level : levels(root, "memory")) {
    const auto limit =
        number_in(level.directory / (level.v2 ? "memory.max" : "memory.limit_in_bytes"));
    if (!limit || *limit >= kUnlimited) continue;
    const uint64_t used =
        number_in(level.directory / (level.v2 ? "memory.current" : "memory.usage_in_bytes"))
            .value_or(0);
    const uint64_t held = used - std::min(used, cache_bytes(level));
    out.push_back({static_cast<size_t>(*limit),
                   static_cast<size_t>(*limit - std::min(*limit, held)), level.where});
  }
  return out;
}

double cgroup_quota_cores(const fs::path& root) {
  double out = std::numeric_limits<double>::infinity();
  for (const Level& level : levels(root, "cpu")) {
    std::optional<uint64_t> quota, period;  // microseconds
    if (level.v2) {
      // "<quota> <period>"; "max" for no quota.
      const std::string text = read_system_file(level.directory / "cpu.max");
      quota = leading_number(text);
      period = leading_number(std::string_view(text).substr(std::min(text.find(' '), text.size())));
    } else {
      quota = number_in(level.directory / "cpu.cfs_quota_us");  // -1 for no quota
      period = number_in(level.directory / "cpu.cfs_period_us");
    }
    if (!quota || *quota == 0 || period.value_or(0) == 0) continue;
    out = std::min(out, static_cast<double>(*quota) / static_cast<double>(*period));
  }
  return out;
}

}  // namespace tamis
