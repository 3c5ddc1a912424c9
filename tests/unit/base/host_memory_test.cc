// HostProbe::memory and quota_cores: the machine's own numbers and the limits of control groups.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <string_view>

#include "base/host.h"
#include "fake_root.h"

namespace tamis {
namespace {

constexpr size_t kMB = 1'000'000;

// 16,000 MB, of which 9,000 are available.
constexpr std::string_view kMeminfo =
    "MemTotal:       15625000 kB\n"
    "MemFree:         3906250 kB\n"
    "MemAvailable:    8789062 kB\n"
    "Active(file):     976562 kB\n"
    "Inactive(file):   976562 kB\n";

constexpr std::string_view kMounts =
    "23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n"
    "27 1 254:0 / / rw - ext4 /dev/vda rw\n";

std::string bytes(size_t value) { return std::to_string(value) + "\n"; }

// A control group of version 2.
void group_v2(const FakeRoot& root, const std::string& path, size_t max, size_t current,
              size_t cache) {
  root.write(path + "/memory.max", bytes(max));
  root.write(path + "/memory.current", bytes(current));
  root.write(path + "/memory.stat", "anon 1\ninactive_file " + bytes(cache / 2) + "active_file " +
                                        bytes(cache - cache / 2) + "unevictable 0\n");
}

void group_v1(const FakeRoot& root, const std::string& path, const std::string& limit, size_t usage,
              size_t cache) {
  root.write(path + "/memory.limit_in_bytes", limit + "\n");
  root.write(path + "/memory.usage_in_bytes", bytes(usage));
  root.write(path + "/memory.stat", "inactive_file 1\nactive_file 1\ntotal_inactive_file " +
                                        bytes(cache) + "total_active_file 0\n");
}

TEST(HostMemory, AMachineWithoutControlGroups) {
  const FakeRoot root;
  root.write("/proc/meminfo", kMeminfo);
  root.write("/proc/self/status",
             "Name:\ttamis\nVmPeak:\t 900 kB\nVmHWM:\t     300 kB\nVmRSS:\t     200 kB\n"
             "RssAnon:\t     150 kB\nRssFile:\t 50 kB\n");
  const HostMemory memory = HostProbe(root.path()).memory();
  EXPECT_EQ(memory.total_bytes, 16'000 * kMB);
  EXPECT_EQ(memory.limit_bytes, 16'000 * kMB);
  EXPECT_EQ(memory.limited_by, "machine");
  EXPECT_EQ(memory.free_bytes, size_t{8789062} * 1024);
  EXPECT_EQ(memory.free_limited_by, "machine");
  EXPECT_EQ(memory.process_bytes, 200u * 1024);
  EXPECT_EQ(memory.process_peak_bytes, 300u * 1024);
  EXPECT_EQ(memory.process_anonymous_bytes, 150u * 1024);
}

TEST(HostMemory, AnOldKernelWithoutMemAvailable) {
  const FakeRoot root;
  root.write("/proc/meminfo",
             "MemTotal: 1000 kB\nMemFree: 100 kB\nActive(file): 20 kB\nInactive(file): 3 kB\n");
  EXPECT_EQ(HostProbe(root.path()).memory().free_bytes, 123u * 1024);
}

TEST(HostMemory, NothingThere) {
  const FakeRoot root;
  const HostMemory memory = HostProbe(root.path()).memory();
  EXPECT_EQ(memory.total_bytes, 0u);
  EXPECT_EQ(memory.free_bytes, 0u);
  EXPECT_EQ(memory.limit_bytes, 0u);
  EXPECT_EQ(memory.limited_by, "");
  EXPECT_EQ(memory.free_limited_by, "");
  EXPECT_EQ(memory.process_bytes, 0u);
  EXPECT_TRUE(std::isinf(HostProbe("/no/such/directory").quota_cores()));
}

TEST(HostMemory, Malformed) {
  const FakeRoot root;
  for (const char* text :
       {"", "\n", ":", "::", "0::", "MemTotal:", "MemTotal: -1 kB", "- - -",
        "a 2 3 4 5 6 - cgroup2", "a 2 3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "99999999999999999999999 1", "0::/../../..", "x:memory:/a", "cpu ", "\xff\xfe"}) {
    for (const char* file :
         {"/proc/meminfo", "/proc/self/status", "/proc/self/cgroup", "/proc/self/mountinfo",
          "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/memory.stat"}) {
      root.write(file, text);
    }
    const HostMemory memory = HostProbe(root.path()).memory();
    EXPECT_EQ(memory.limit_bytes, 0u) << text;
    EXPECT_EQ(memory.process_bytes, 0u) << text;
    EXPECT_TRUE(std::isinf(HostProbe(root.path()).quota_cores())) << text;
  }
}

TEST(HostMemory, NestedGroupsOfVersion2) {
  const FakeRoot root;
  root.write("/proc/meminfo", kMeminfo);
  root.write("/proc/self/cgroup", "0::/a/b/c\n");
  root.write("/proc/self/mountinfo",
             std::string(kMounts) +
                 "31 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  const HostProbe probe(root.path());

  root.write("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
  group_v2(root, "/sys/fs/cgroup/a/b", 4000 * kMB, 1500 * kMB, 0);
  EXPECT_EQ(probe.memory().limit_bytes, 4000 * kMB);
  EXPECT_EQ(probe.memory().limited_by, "cgroup v2 /sys/fs/cgroup/a/b");
  EXPECT_EQ(probe.memory().free_bytes, 2500 * kMB);
  EXPECT_EQ(probe.memory().free_limited_by, "cgroup v2 /sys/fs/cgroup/a/b");

  // The outer group allows more but has less left.
  group_v2(root, "/sys/fs/cgroup/a", 8000 * kMB, 7000 * kMB, 400 * kMB);
  EXPECT_EQ(probe.memory().limit_bytes, 4000 * kMB);
  EXPECT_EQ(probe.memory().limited_by, "cgroup v2 /sys/fs/cgroup/a/b");
  EXPECT_EQ(probe.memory().free_bytes, 1400 * kMB);
  EXPECT_EQ(probe.memory().free_limited_by, "cgroup v2 /sys/fs/cgroup/a");

  // Over its limit, for a moment.
  group_v2(root, "/sys/fs/cgroup/a", 8000 * kMB, 8001 * kMB, 0);
  EXPECT_EQ(probe.memory().free_bytes, 0u);
  EXPECT_EQ(probe.memory().free_limited_by, "cgroup v2 /sys/fs/cgroup/a");

  // Groups that allow more than there is.
  group_v2(root, "/sys/fs/cgroup/a", 64'000 * kMB, 1000 * kMB, 0);
  group_v2(root, "/sys/fs/cgroup/a/b", 32'000 * kMB, 1000 * kMB, 0);
  EXPECT_EQ(probe.memory().limited_by, "machine");
  EXPECT_EQ(probe.memory().free_limited_by, "machine");
}

TEST(HostMemory, AContainerSeesItsGroupAsTheTop) {
  const FakeRoot root;
  root.write("/proc/meminfo", kMeminfo);
  root.write("/proc/self/cgroup", "0::/\n");
  root.write("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  group_v2(root, "/sys/fs/cgroup", 2000 * kMB, 500 * kMB, 100 * kMB);
  const HostMemory memory = HostProbe(root.path()).memory();
  EXPECT_EQ(memory.limit_bytes, 2000 * kMB);
  EXPECT_EQ(memory.free_bytes, 1600 * kMB);
  EXPECT_EQ(memory.limited_by, "cgroup v2 /sys/fs/cgroup");
}

TEST(HostMemory, AGroupOutsideTheNamespaceIsNotLookedFor) {
  const FakeRoot root;
  root.write("/proc/meminfo", kMeminfo);
  root.write("/proc/self/cgroup", "0::/../x\n");
  group_v2(root, "/sys/fs/x", 1 * kMB, 0, 0);
  EXPECT_EQ(HostProbe(root.path()).memory().limited_by, "machine");
}

TEST(HostMemory, Version1) {
  const FakeRoot root;
  root.write("/proc/meminfo", kMeminfo);
  root.write("/proc/self/cgroup", "9:name=systemd:/x\n4:memory:/job/7\n2:cpu,cpuacct:/job\n0::/\n");
  root.write("/proc/self/mountinfo",
             std::string(kMounts) +
                 "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                 "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                 "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  group_v1(root, "/sys/fs/cgroup/memory", "9223372036854771712", 1000 * kMB, 0);
  group_v1(root, "/sys/fs/cgroup/memory/job", "6000000000", 1000 * kMB, 300 * kMB);
  group_v1(root, "/sys/fs/cgroup/memory/job/7", "9223372036854771712", 500 * kMB, 0);
  root.write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  const HostProbe probe(root.path());
  EXPECT_EQ(probe.memory().limit_bytes, 6000 * kMB);
  EXPECT_EQ(probe.memory().limited_by, "cgroup v1 /sys/fs/cgroup/memory/job");
  EXPECT_EQ(probe.memory().free_bytes, 5300 * kMB);
  EXPECT_DOUBLE_EQ(probe.quota_cores(), 2.5);
}

TEST(HostMemory, AContainerOfVersion1KeepsTheHostsName) {
  const FakeRoot root;
  root.write("/proc/meminfo", kMeminfo);
  root.write("/proc/self/cgroup", "4:memory:/docker/ab/inner\n");
  root.write("/proc/self/mountinfo",
             "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  group_v1(root, "/sys/fs/cgroup/memory", "2000000000", 0, 0);
  group_v1(root, "/sys/fs/cgroup/memory/inner", "1000000000", 0, 0);
  EXPECT_EQ(HostProbe(root.path()).memory().limited_by, "cgroup v1 /sys/fs/cgroup/memory/inner");
  // "/docker/a" is not above "/docker/ab": only the mount itself is looked at.
  root.write("/proc/self/mountinfo",
             "35 31 0:32 /docker/a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  EXPECT_EQ(HostProbe(root.path()).memory().limited_by, "cgroup v1 /sys/fs/cgroup/memory");
}

TEST(QuotaCores, TheSmallestOfVersion2) {
  const FakeRoot root;
  const HostProbe probe(root.path(), {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(probe.usable_cores(), 8);
  root.write("/proc/self/cgroup", "0::/pod/box\n");
  root.write("/sys/fs/cgroup/pod/box/cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(probe.quota_cores()));
  root.write("/sys/fs/cgroup/pod/cpu.max", "350000 100000\n");
  EXPECT_DOUBLE_EQ(probe.quota_cores(), 3.5);
  EXPECT_EQ(probe.usable_cores(), 4);
  root.write("/sys/fs/cgroup/pod/box/cpu.max", "20000 100000\n");
  EXPECT_DOUBLE_EQ(probe.quota_cores(), 0.2);
  EXPECT_EQ(probe.usable_cores(), 1);
  root.write("/sys/fs/cgroup/pod/box/cpu.max", "100000 0\n");  // no sense
  EXPECT_DOUBLE_EQ(probe.quota_cores(), 3.5);
}

TEST(QuotaCores, TheTopAloneWhenTheGroupIsUnknown) {
  const FakeRoot root;
  root.write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_DOUBLE_EQ(HostProbe(root.path()).quota_cores(), 2);
}

}  // namespace
}  // namespace tamis
