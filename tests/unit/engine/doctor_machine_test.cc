// What the doctor finds of machine and devices, provoked: a machine made of files, a fake NVML, and
// environment settings handed in.

#include "doctor_test.h"

#include <dlfcn.h>

#include <stdexcept>

#include "fake_nvml.h"

namespace tamis {
namespace {

using fakes::FakeCard;
using fakes::FakeNvml;

constexpr unsigned long long kGB = 1'000'000'000;

// ---- the machine

doctor::HostQuestions questions(const HostProbe& host) {
  doctor::HostQuestions out;
  out.isas = {"avx512", "avx2", "baseline"};
  out.before = out.after = host.cpu_times();
  return out;
}

Findings cpu_findings(const FakeRoot& root, void (*change)(doctor::HostQuestions&) = nullptr) {
  const HostProbe host(root.path(), {0, 1, 2, 3, 4, 5, 6, 7});
  doctor::HostQuestions q = questions(host);
  if (change != nullptr) change(q);
  Findings out;
  doctor::examine_cpu(host, q, out);
  return out;
}

TEST(DoctorCpu, AHealthyMachineIsAllRight) {
  const FakeRoot root;
  eight_cores(root);
  const Findings findings = cpu_findings(root);
  for (const Finding& f : findings) EXPECT_EQ(f.severity, Severity::kOk) << f.id;
  EXPECT_SAYS(findings, "cpu.isa", Severity::kOk, "avx512");
  EXPECT_SAYS(findings, "cpu.threads", Severity::kOk, "8, one for each core");
  EXPECT_EQ(find(findings, "cpu.quota"), nullptr);
  EXPECT_EQ(find(findings, "cpu.numa"), nullptr);
  EXPECT_EQ(find(findings, "cpu.omp"), nullptr);
}

TEST(DoctorCpu, InstructionSets) {
  const FakeRoot root;
  eight_cores(root);
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.isa = "avx2"; }), "cpu.isa", Severity::kWarning,
              "--isa avx512");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.isa = "mmx"; }), "cpu.isa", Severity::kProblem,
              "avx512, avx2, baseline");
  EXPECT_SAYS(cpu_findings(root,
                           [](auto& q) {
                             q.isas = {"sse4", "baseline"};
                           }),
              "cpu.isa", Severity::kInfo, "no AVX2");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.isa = "avx512"; }), "cpu.isa", Severity::kOk,
              "the best");
}

TEST(DoctorCpu, Quota) {
  const FakeRoot root;
  eight_cores(root);
  root.write("/proc/self/cgroup", "0::/box\n");
  root.write("/proc/self/mountinfo", "30 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  root.write("/sys/fs/cgroup/box/cpu.max", "150000 100000\n");
  EXPECT_SAYS(cpu_findings(root), "cpu.quota", Severity::kWarning, "1.5 of 8 cores");
  EXPECT_SAYS(cpu_findings(root), "cpu.quota", Severity::kWarning, "docker run --cpus 8");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.threads = 8; }), "cpu.threads", Severity::kWarning,
              "--threads 2");
}

TEST(DoctorCpu, Threads) {
  const FakeRoot root;
  eight_cores(root);
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.threads = 9; }), "cpu.threads", Severity::kWarning,
              "9 threads asked for, 8 of 8 cores");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.threads = 2; }), "cpu.threads", Severity::kInfo,
              "leave out --threads");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.threads = 8; }), "cpu.threads", Severity::kOk,
              "8, one");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.omp_num_threads = "3"; }), "cpu.omp",
              Severity::kInfo, "--threads 8");
  EXPECT_EQ(find(cpu_findings(root, [](auto& q) { q.omp_num_threads = ""; }), "cpu.omp"), nullptr);
}

TEST(DoctorCpu, LoadByOthers) {
  const FakeRoot root;
  eight_cores(root);
  // Between two readings 6 of 8 cores were busy.
  EXPECT_SAYS(cpu_findings(root,
                           [](auto& q) {
                             q.before = {100, 1000, 1.0, 1};
                             q.after = {700, 1800, 1.0, 1};
                           }),
              "cpu.load", Severity::kWarning, "--threads 2");
  EXPECT_SAYS(cpu_findings(root,
                           [](auto& q) {
                             q.before = {100, 1000, 1.0, 1};
                             q.after = {180, 1800, 1.0, 1};
                           }),
              "cpu.load", Severity::kOk, "0.8 of 8 cores");
  // Two readings too close to say: the load average counts.
  root.write("/proc/loadavg", "11.50 1 1 1/100 4242\n");
  EXPECT_SAYS(cpu_findings(root), "cpu.load", Severity::kWarning, "load average 11.5");
  EXPECT_SAYS(cpu_findings(root), "cpu.load", Severity::kWarning, "--threads 1");
}

TEST(DoctorCpu, NumaNodes) {
  const FakeRoot root;
  eight_cores(root);
  root.write(std::string(kNode) + "0/cpulist", "0-3\n");
  root.write(std::string(kNode) + "1/cpulist", "4-7\n");
  root.write(std::string(kNode) + "2/cpulist", "8-11\n");  // not ours
  EXPECT_SAYS(cpu_findings(root), "cpu.numa", Severity::kInfo, "--device cpu:0,cpu:1");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.device = "cpu:0,cpu:1"; }), "cpu.numa",
              Severity::kOk, "2 nodes");
  EXPECT_SAYS(cpu_findings(root, [](auto& q) { q.device = "nonsense"; }), "cpu.numa", Severity::kOk,
              "2 nodes");
}

Findings memory_findings(const FakeRoot& root) {
  Findings out;
  doctor::examine_host_memory(HostProbe(root.path()), out);
  return out;
}

TEST(DoctorHostMemory, HugePages) {
  const FakeRoot root;
  eight_cores(root);
  EXPECT_EQ(find(memory_findings(root), "memory.huge_pages"), nullptr);
  const auto setting = [&](const char* words) {
    root.write("/sys/kernel/mm/transparent_hugepage/enabled", words);
    return memory_findings(root);
  };
  EXPECT_SAYS(setting("always madvise [never]\n"), "memory.huge_pages", Severity::kWarning,
              "echo madvise | sudo tee");
  EXPECT_SAYS(setting("always [madvise] never\n"), "memory.huge_pages", Severity::kOk, "madvise");
  EXPECT_SAYS(setting("[always] madvise never\n"), "memory.huge_pages", Severity::kOk, "always");
  EXPECT_EQ(find(setting("]["), "memory.huge_pages"), nullptr);
}

TEST(DoctorHostMemory, ControlGroups) {
  const FakeRoot root;
  eight_cores(root);
  EXPECT_SAYS(memory_findings(root), "memory.host", Severity::kOk, "8.19 GB free of 16.4 GB");
  root.write("/proc/self/cgroup", "0::/box\n");
  root.write("/proc/self/mountinfo", "30 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  root.write("/sys/fs/cgroup/box/memory.max", "2000000000\n");
  root.write("/sys/fs/cgroup/box/memory.current", "500000000\n");
  EXPECT_SAYS(memory_findings(root), "memory.host", Severity::kInfo,
              "2.00 GB of the machine's 16.4 GB");
  EXPECT_SAYS(memory_findings(root), "memory.host", Severity::kInfo, "cgroup v2");
  const FakeRoot nothing;
  EXPECT_TRUE(memory_findings(nothing).empty());
}

// ---- devices

class Fake {
 public:
  explicit Fake(int cards) : handle_(dlopen(FAKE_NVML, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    state_ = reinterpret_cast<fakes::FakeNvmlFunction*>(dlsym(handle_, "fake_nvml"))();
    for (int i = 0; i < cards; ++i) {
      FakeCard card;
      card.uuid = "GPU-" + std::string(1, static_cast<char>('a' + i)) + "000";
      card.name = "NVIDIA Fake " + std::to_string(i);
      card.total = 80 * kGB;
      card.used = 30 * kGB;
      state_->cards.push_back(card);
    }
  }
  ~Fake() { dlclose(handle_); }
  Fake(const Fake&) = delete;
  Fake& operator=(const Fake&) = delete;
  FakeNvml* operator->() const { return state_; }

 private:
  void* handle_;
  FakeNvml* state_ = nullptr;
};

DeviceSetOptions with_gpus() { return {{}, FAKE_NVML, "/", "none"}; }
struct Names {
  std::vector<DeviceName> usable;
  Findings findings;
};

Names names(const DeviceSetOptions& options, const std::string& device,
            std::optional<std::string> visible = std::nullopt) {
  const DeviceSet devices(options);
  Names out;
  const doctor::DeviceQuestions questions = {device, std::move(visible)};
  out.usable = doctor::examine_names(devices, questions, out.findings);
  doctor::examine_gpus(devices, questions, out.findings);
  return out;
}

TEST(DoctorDevices, WhatIsThere) {
  for (const char* device : {"cpu", "cpu,cpu", "sim:3", "ref", "auto"}) {
    const Names found = names(without_gpus(), device);
    EXPECT_FALSE(found.usable.empty()) << device;
    EXPECT_SAYS(found.findings, "device.asked", Severity::kOk, device);
    EXPECT_SAYS(found.findings, "gpu.none", Severity::kOk, "libtamis-no-such-library");
  }
}

TEST(DoctorDevices, NoSuchDevice) {
  for (const char* device : {"tpu", "", "cpu:", "cpu,tpu:1", "auto,cpu"}) {
    const Names found = names(without_gpus(), device);
    EXPECT_TRUE(found.usable.empty()) << device;
    EXPECT_SAYS(found.findings, "device.unknown", Severity::kProblem, "devices here: cpu");
  }
  EXPECT_SAYS(names(without_gpus(), "cpu:77").findings, "device.unknown", Severity::kProblem,
              "There is no device cpu:77");
}

TEST(DoctorDevices, ASimulatedDeviceThatIsGone) {
  const Names found = names(without_gpus({"gone=1", "memory=1GiB"}), "sim:0,sim:1");
  EXPECT_TRUE(found.usable.empty());
  EXPECT_SAYS(found.findings, "device.unusable", Severity::kProblem, "sim:0: the device is gone");
}

TEST(DoctorDevices, NoDriver) {
  const Names found = names(without_gpus(), "cuda:0");
  EXPECT_TRUE(found.usable.empty());
  EXPECT_SAYS(found.findings, "gpu.no_driver", Severity::kProblem, "nvidia-smi works");
  EXPECT_EQ(find(found.findings, "gpu.none"), nullptr);
  const Fake fake(1);
  fake->failures[{"nvmlInit_v2", -1}] = 9;
  EXPECT_SAYS(names(with_gpus(), "cuda:0").findings, "gpu.no_driver", Severity::kProblem,
              "Driver Not Loaded");
}

TEST(DoctorDevices, DriverAndCards) {
  const Fake fake(2);
  const Names found = names(with_gpus(), "cpu");
  EXPECT_FALSE(found.usable.empty());
  EXPECT_SAYS(found.findings, "gpu.driver", Severity::kOk, "driver 550.54.15, CUDA up to 12.4");
  EXPECT_SAYS(found.findings, "gpu.driver", Severity::kOk,
              "cuda:1 NVIDIA Fake 1, 50.0 GB free of 80.0 GB");
  EXPECT_SAYS(found.findings, "gpu.unusable", Severity::kInfo, "CUDA plug-in cannot be opened");
  EXPECT_EQ(find(found.findings, "gpu.visible"), nullptr);
}

TEST(DoctorDevices, ACardThatThisBuildCannotUse) {
  const Fake fake(2);
  const Names found = names(with_gpus(), "cuda:1");
  EXPECT_TRUE(found.usable.empty());
  EXPECT_SAYS(found.findings, "gpu.unusable", Severity::kProblem, "NVIDIA Fake 1; driver 550");
  EXPECT_SAYS(names(with_gpus(), "cuda:2").findings, "device.unknown", Severity::kProblem,
              "cuda:1 (not usable)");
}

TEST(DoctorDevices, ALostCard) {
  const Fake fake(2);
  fake->failures[{"nvmlDeviceGetMemoryInfo", 1}] = 15;
  const Names found = names(with_gpus(), "cpu");
  EXPECT_SAYS(found.findings, "gpu.card", Severity::kWarning, "cuda:1 does not answer");
  EXPECT_SAYS(found.findings, "gpu.card", Severity::kWarning, "GPU is lost");
  EXPECT_EQ(text(found.findings, "gpu.driver", Severity::kOk).find("cuda:1"), std::string::npos);
}

TEST(DoctorDevices, ADriverThatDoesNotCountItsCards) {
  const Fake fake(1);
  fake->failures[{"nvmlDeviceGetCount_v2", -1}] = 999;
  EXPECT_SAYS(names(with_gpus(), "cpu").findings, "gpu.driver", Severity::kWarning,
              "nvmlDeviceGetCount_v2");
}

TEST(DoctorDevices, VisibleDevicesHideTheOneAsked) {
  const Fake fake(2);
  EXPECT_SAYS(names(with_gpus(), "cuda:1", "1").findings, "device.hidden", Severity::kProblem,
              "cuda:0 is NVIDIA Fake 1 (GPU-b000)");
  EXPECT_SAYS(names(with_gpus(), "cuda:1", "1").findings, "device.hidden", Severity::kProblem,
              "unset CUDA_VISIBLE_DEVICES, or");
  for (const char* all : {"", "-1", "NoDevFiles"}) {
    EXPECT_SAYS(names(with_gpus(), "cuda:0", all).findings, "device.hidden", Severity::kProblem,
                "0 of 2 cards");
  }
  EXPECT_SAYS(names(with_gpus(), "cuda:0", "1,0").findings, "gpu.visible", Severity::kInfo,
              "cuda:0 is card 1 of nvidia-smi");
  EXPECT_EQ(find(names(with_gpus(), "cuda:0", "1").findings, "device.hidden"), nullptr);
}

TEST(DoctorDevices, VisibleDevicesAsCudaReadsThem) {
  std::vector<GpuStatus> gpus(3);
  gpus[0].uuid = "GPU-aa11";
  gpus[1].uuid = "GPU-aa22";
  gpus[2].uuid = "GPU-cc33";
  using Cards = std::vector<size_t>;
  EXPECT_EQ(doctor::visible_gpus(gpus, std::nullopt), (Cards{0, 1, 2}));
  EXPECT_EQ(doctor::visible_gpus(gpus, ""), Cards{});
  EXPECT_EQ(doctor::visible_gpus(gpus, "2,0"), (Cards{2, 0}));
  EXPECT_EQ(doctor::visible_gpus(gpus, " 2 , 0 "), (Cards{2, 0}));
  EXPECT_EQ(doctor::visible_gpus(gpus, "0,-1,2"), (Cards{0}));
  EXPECT_EQ(doctor::visible_gpus(gpus, "0,7,2"), (Cards{0}));
  EXPECT_EQ(doctor::visible_gpus(gpus, "0,,2"), (Cards{0}));
  EXPECT_EQ(doctor::visible_gpus(gpus, "1,1"), Cards{});
  EXPECT_EQ(doctor::visible_gpus(gpus, "GPU-cc,GPU-aa1"), (Cards{2, 0}));
  EXPECT_EQ(doctor::visible_gpus(gpus, "GPU-aa"), Cards{});  // two begin so
  EXPECT_EQ(doctor::visible_gpus(gpus, "99999999999999999999999"), Cards{});
}

}  // namespace
}  // namespace tamis
