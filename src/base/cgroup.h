#pragma once

// The limits that control groups, of version 1 or 2, set on this process: its own group's and those
// of every group above it that is visible. Nothing throws; what cannot be read limits nothing.

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace tamis {

struct CgroupMemory {
  size_t limit_bytes = 0;
  size_t free_bytes = 0;  ///< below the limit; file cache, which can be given back, counts as free
  std::string where;      ///< "cgroup v2 /sys/fs/cgroup/a/b"
};

/// One for each group with a memory limit, innermost first.
std::vector<CgroupMemory> cgroup_memory(const std::filesystem::path& root);

/// The smallest CPU quota, in cores; infinity if there is none.
double cgroup_quota_cores(const std::filesystem::path& root);

}  // namespace tamis
