#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace tamis {

/// Memory of the machine as this process may use it, and what it uses. 0 where it is not known.
struct HostMemory {
  size_t total_bytes = 0;  ///< of the machine
  /// What can still be taken: the least of what the machine has available and of what each control
  /// group has left. File cache counts as free, for the system gives it back.
  size_t free_bytes = 0;
  std::string free_limited_by;  ///< where free_bytes comes from, as limited_by
  /// The least of the machine's total and the limits of the control groups; 0: all are unknown,
  /// and so is free_bytes.
  size_t limit_bytes = 0;
  std::string limited_by;              ///< "machine", "cgroup v2 /sys/fs/cgroup/a/b"; "" unknown
  size_t process_bytes = 0;            ///< resident now, mapped files included
  size_t process_peak_bytes = 0;       ///< the most of it so far
  size_t process_anonymous_bytes = 0;  ///< resident now, without mapped files
};

struct NumaNode {
  int id = 0;
  std::vector<int> cores;  ///< all of the node, also those that this process may not use
  size_t total_bytes = 0;  ///< 0 if unknown
  size_t free_bytes = 0;   ///< file cache included; control groups are not looked at
};

/// Counters since the machine started, of all its cores, in ticks; and its load.
struct CpuTimes {
  uint64_t busy_ticks = 0;
  uint64_t total_ticks = 0;
  double load_average = 0;  ///< of the last minute
  int runnable = 0;         ///< threads that run or wait for a core
};

/// How busy all cores of the machine were between two readings, 0 to 100; -1 if they are too close
/// or unknown.
double utilisation_percent(const CpuTimes& before, const CpuTimes& after);

/// What the machine and this process look like. Each call reads anew from /proc and /sys below
/// `root`. Nothing throws for a file that is missing or malformed: the field says 0 or unknown.
/// Thread rule: any number of threads.
class HostProbe {
 public:
  /// Tests give a directory with files of their own, and `cores` in place of the affinity mask.
  explicit HostProbe(std::filesystem::path root = "/", std::vector<int> cores = {});

  HostMemory memory() const;

  /// By id. One node 0 with every core where the system does not tell. A machine's only node has
  /// all of its memory.
  std::vector<NumaNode> numa_nodes() const;

  /// The cores that the calling thread may run on, ascending; never empty.
  std::vector<int> cores() const;

  /// The smallest CPU quota of the control groups; infinity if there is none.
  double quota_cores() const;

  /// The number of cores(), or the quota rounded to a whole core if it is less; at least 1.
  int usable_cores() const;

  CpuTimes cpu_times() const;

  std::string cpu_model() const;  ///< "" if unknown

  /// Transparent huge pages: "always", "madvise", "never"; "" if unknown.
  std::string huge_pages() const;

  /// The command of a process, cut to 15 characters by the system; what is not printable ASCII is
  /// replaced by '?'. "" if unknown.
  std::string process_name(int64_t pid) const;

 private:
  std::filesystem::path root_;
  std::vector<int> given_cores_;
};

/// usable_cores() of this machine: affinity mask and CPU quota respected, at least 1.
int usable_cores();

/// From now on the calling thread runs on these cores only; none given: nothing changes. False if
/// the system refuses, as it does when it has or allows none of them; the thread then goes on as
/// before.
bool pin_this_thread(std::span<const int> cores);

/// Of this machine, as names of files can have it.
std::string host_name();

}  // namespace tamis
