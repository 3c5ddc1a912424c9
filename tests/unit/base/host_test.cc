// HostProbe: nodes, cores and times; and what it says of the machine that runs the test.

#include "base/host.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "fake_root.h"

namespace tamis {
namespace {

using Cores = std::vector<int>;

std::string node_meminfo(int id, int total, int free) {
  const std::string node = "Node " + std::to_string(id) + " ";
  return node + "MemTotal: " + std::to_string(total) + " kB\n" + node +
         "MemFree: " + std::to_string(free) + " kB\n" + node + "Active(file): 10 kB\n" + node +
         "Inactive(file): 1 kB\n";
}

TEST(NumaNodes, TwoAndOneWithoutCores) {
  const FakeRoot root;
  const std::string nodes = "/sys/devices/system/node/";
  root.write(nodes + "node10/cpulist", "\n");  // memory only
  root.write(nodes + "node10/meminfo", node_meminfo(10, 3000, 300));
  root.write(nodes + "node1/cpulist", "4-7\n");
  root.write(nodes + "node1/meminfo", node_meminfo(1, 2000, 200));
  root.write(nodes + "node0/cpulist", "0-3,8\n");
  root.write(nodes + "node0/meminfo", node_meminfo(0, 1000, 100));
  root.write(nodes + "nodes/cpulist", "1\n");
  root.write(nodes + "online", "0-1,10\n");
  const auto got = HostProbe(root.path()).numa_nodes();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].id, 0);
  EXPECT_EQ(got[0].cores, Cores({0, 1, 2, 3, 8}));
  EXPECT_EQ(got[0].total_bytes, 1000u * 1024);
  EXPECT_EQ(got[0].free_bytes, 111u * 1024);
  EXPECT_EQ(got[1].id, 1);
  EXPECT_EQ(got[1].cores, Cores({4, 5, 6, 7}));
  EXPECT_EQ(got[2].id, 10);
  EXPECT_EQ(got[2].cores, Cores());
  EXPECT_EQ(got[2].total_bytes, 3000u * 1024);
}

TEST(NumaNodes, TheOnlyNodeHasAllMemory) {
  const FakeRoot root;
  root.write("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 800 kB\n");
  root.write("/sys/devices/system/node/node0/cpulist", "0-1\n");
  root.write("/sys/devices/system/node/node0/meminfo", node_meminfo(0, 1000, 100));
  const auto got = HostProbe(root.path()).numa_nodes();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].cores, Cores({0, 1}));
  EXPECT_EQ(got[0].total_bytes, 9000u * 1024);
  EXPECT_EQ(got[0].free_bytes, 800u * 1024);
}

TEST(NumaNodes, NoneListed) {
  const FakeRoot root;
  const HostProbe probe(root.path(), {2, 3});
  ASSERT_EQ(probe.numa_nodes().size(), 1u);
  EXPECT_EQ(probe.numa_nodes()[0].id, 0);
  EXPECT_EQ(probe.numa_nodes()[0].cores, Cores({2, 3}));
  EXPECT_EQ(probe.numa_nodes()[0].total_bytes, 0u);
  root.write("/sys/devices/system/cpu/online", "0-3\n");
  EXPECT_EQ(probe.numa_nodes()[0].cores, Cores({0, 1, 2, 3}));
}

TEST(NumaNodes, Malformed) {
  const FakeRoot root;
  root.write("/sys/devices/system/node/node0/cpulist", "0-\n");
  root.write("/sys/devices/system/node/node1/meminfo",
             "Node 0 MemTotal: 1 kB\nNode 1 MemTotal: x\n");
  const auto got = HostProbe(root.path()).numa_nodes();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_TRUE(got[0].cores.empty());
  EXPECT_EQ(got[1].total_bytes, 0u);
}

TEST(CpuTimes, BusyAndTotal) {
  const FakeRoot root;
  // user nice system idle iowait irq softirq steal guest guest_nice
  root.write("/proc/stat",
             "cpu  100 20 30 1000 50 4 5 6 70 8\ncpu0 1 1 1 1 1 1 1 1\nprocs_running 3\n");
  root.write("/proc/loadavg", "1.25 0.51 0.39 1/82 7708\n");
  const HostProbe probe(root.path());
  const CpuTimes before = probe.cpu_times();
  EXPECT_EQ(before.busy_ticks, 165u);
  EXPECT_EQ(before.total_ticks, 1215u);
  EXPECT_EQ(before.runnable, 3);
  EXPECT_DOUBLE_EQ(before.load_average, 1.25);
  root.write("/proc/stat", "cpu  175 20 30 1025 50 4 5 6 70 8\n");
  const CpuTimes after = probe.cpu_times();
  EXPECT_DOUBLE_EQ(utilisation_percent(before, after), 75);
  EXPECT_DOUBLE_EQ(utilisation_percent(after, after), -1);
  EXPECT_DOUBLE_EQ(utilisation_percent(after, before), -1);
  EXPECT_EQ(after.runnable, 0);
}

TEST(CpuTimes, MissingOrMalformed) {
  const FakeRoot root;
  EXPECT_EQ(HostProbe(root.path()).cpu_times().total_ticks, 0u);
  root.write("/proc/stat", "cpu0 1 2 3 4\n");
  root.write("/proc/loadavg", "high\n");
  EXPECT_EQ(HostProbe(root.path()).cpu_times().total_ticks, 0u);
  EXPECT_DOUBLE_EQ(HostProbe(root.path()).cpu_times().load_average, 0);
  root.write("/proc/stat", "cpu  7 x 3 4");
  EXPECT_EQ(HostProbe(root.path()).cpu_times().total_ticks, 7u);
  root.write("/proc/stat", "cpu ");
  EXPECT_EQ(HostProbe(root.path()).cpu_times().total_ticks, 0u);
}

TEST(HostProbe, CpuModel) {
  const FakeRoot root;
  const HostProbe probe(root.path());
  EXPECT_EQ(probe.cpu_model(), "");
  root.write("/proc/cpuinfo",
             "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t: a b\n");
  EXPECT_EQ(probe.cpu_model(), "AMD EPYC");
  for (const char* text : {"model name", "model name\t:", "model name\t: ", "processor : 0\n"}) {
    root.write("/proc/cpuinfo", text);
    EXPECT_EQ(probe.cpu_model(), "") << text;
  }
}

TEST(HostProbe, ProcessName) {
  const FakeRoot root;
  const HostProbe probe(root.path());
  EXPECT_EQ(probe.process_name(42), "");
  root.write("/proc/42/comm", "python3 serve\n");
  EXPECT_EQ(probe.process_name(42), "python3 serve");
  root.write("/proc/42/comm", "\x1b[31m\xc3\xa9\t\n");
  EXPECT_EQ(probe.process_name(42), "?[31m???");
  EXPECT_FALSE(HostProbe().process_name(getpid()).empty());
}

TEST(HostProbe, ThisMachine) {
  const HostProbe probe;
  const HostMemory memory = probe.memory();
  EXPECT_GT(memory.total_bytes, size_t{64} << 20);
  EXPECT_LE(memory.limit_bytes, memory.total_bytes);
  EXPECT_LE(memory.free_bytes, memory.limit_bytes);
  EXPECT_GT(memory.free_bytes, 0u);
  EXPECT_FALSE(memory.limited_by.empty());
  EXPECT_GT(memory.process_bytes, 0u);
  EXPECT_LE(memory.process_bytes, memory.process_peak_bytes);
  EXPECT_LT(memory.process_anonymous_bytes, memory.process_bytes);

  const Cores cores = probe.cores();
  ASSERT_FALSE(cores.empty());
  EXPECT_TRUE(std::is_sorted(cores.begin(), cores.end()));
  EXPECT_LE(usable_cores(), static_cast<int>(cores.size()));
  EXPECT_GE(usable_cores(), 1);
  EXPECT_GT(probe.quota_cores(), 0);

  ASSERT_FALSE(probe.numa_nodes().empty());
  EXPECT_FALSE(probe.numa_nodes().front().cores.empty());
  const CpuTimes times = probe.cpu_times();
  EXPECT_GT(times.total_ticks, 0u);
  EXPECT_LE(times.busy_ticks, times.total_ticks);
}

TEST(HostProbe, HugePages) {
  const FakeRoot root;
  const HostProbe host(root.path());
  EXPECT_EQ(host.huge_pages(), "");
  for (const auto& [text, want] :
       std::vector<std::pair<std::string, std::string>>{{"always [madvise] never\n", "madvise"},
                                                        {"[always] madvise never\n", "always"},
                                                        {"always madvise [never]", "never"},
                                                        {"never\n", ""},
                                                        {"][", ""},
                                                        {"[", ""},
                                                        {"", ""}}) {
    root.write("/sys/kernel/mm/transparent_hugepage/enabled", text);
    EXPECT_EQ(host.huge_pages(), want) << text;
  }
}

TEST(PinThisThread, RunsThereOnly) {
  const Cores before = HostProbe().cores();
  std::thread([&] {
    const Cores last = {before.back()};
    EXPECT_TRUE(pin_this_thread(last));
    EXPECT_EQ(sched_getcpu(), last[0]);
    EXPECT_EQ(HostProbe().cores(), last);
    EXPECT_TRUE(pin_this_thread({}));
    EXPECT_EQ(HostProbe().cores(), last);
    EXPECT_TRUE(pin_this_thread(before));
    EXPECT_EQ(HostProbe().cores(), before);
  }).join();
  EXPECT_EQ(HostProbe().cores(), before);
}

TEST(PinThisThread, RefusesCoresThatAreNotThere) {
  const Cores before = HostProbe().cores();
  std::thread([&] {
    for (const int core : {-1, 1 << 15, 1 << 16, 2'000'000'000}) {
      EXPECT_FALSE(pin_this_thread(Cores{core})) << core;
    }
    EXPECT_FALSE(pin_this_thread(Cores{before[0], -7}));
    EXPECT_EQ(HostProbe().cores(), before);
  }).join();
}

}  // namespace
}  // namespace tamis
