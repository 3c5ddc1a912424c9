// What the doctor finds of a model's memory, place and speed, provoked on simulated devices, and by
// numbers that nobody measured.

#include "doctor_test.h"

#include "tamis/error.h"
#include "tamis/model.h"

namespace tamis {
namespace {

const std::filesystem::path kModels =
    std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models";

// ---- memory

constexpr const char* kModel = "xlmr-ce";

struct Planned {
  bool fits = false;
  Findings findings;
};

Planned plan(const DeviceSetOptions& device_options, const std::string& device,
             const PlacementOptions& options = {}) {
  const auto model = HostModel::open(read_spec(kModels / kModel, {}), {});
  DeviceSet devices(device_options);
  Planned out;
  out.fits = doctor::examine_plan(*model, devices, parse_device_names(device), options,
                                  "tamis rerank --model M", out.findings);
  return out;
}

// What the model needs on a simulated device, by the plan itself.
size_t needed(DType dtype, size_t batch_tokens) {
  const auto model = HostModel::open(read_spec(kModels / kModel, {}), {});
  DeviceSet devices(without_gpus());
  PlacementOptions options;
  options.dtype = dtype;
  options.batch_tokens = batch_tokens;
  return plan_placement(*model, devices, parse_device_names("sim:0"), options).devices[0].needed();
}

TEST(DoctorMemory, Fits) {
  const Planned found = plan(without_gpus({"memory=1GiB"}), "sim:0,cpu");
  EXPECT_TRUE(found.fits);
  EXPECT_SAYS(found.findings, "memory.plan", Severity::kOk, "free of 1.07 GB");
  EXPECT_SAYS(plan(without_gpus({"memory=1GiB"}), "auto").findings, "device.auto", Severity::kOk,
              "auto chose sim:0");
}

TEST(DoctorMemory, SmallerBatchesOr16BitsWouldFit) {
  // Room for f32 weights and batches of 1,024 tokens, not of 4,096.
  const std::string memory = "memory=" + std::to_string(needed(DType::kF32, 1024) + 4096);
  const Planned found = plan(without_gpus({memory}), "sim:0");
  EXPECT_FALSE(found.fits);
  EXPECT_SAYS(found.findings, "memory.does_not_fit", Severity::kProblem, "needed");
  EXPECT_SAYS(found.findings, "memory.does_not_fit", Severity::kProblem, "available");
  EXPECT_SAYS(found.findings, "memory.does_not_fit", Severity::kProblem,
              "tamis rerank --model M --device sim:0 --batch-tokens 1024");
}

TEST(DoctorMemory, TheAdviceIsForAllTheDevicesThatWereNamed) {
  PlacementOptions options;
  options.memory_limit_bytes = 1'500'000;
  EXPECT_SAYS(plan(without_gpus(), "cpu,cpu", options).findings, "memory.limit", Severity::kProblem,
              "tamis rerank --model M --device cpu,cpu --batch-tokens ");
}

TEST(DoctorMemory, OnlyAnotherDeviceWouldFit) {
  const Planned found = plan(without_gpus({"memory=4KiB", "memory=1GiB"}), "sim:0");
  EXPECT_FALSE(found.fits);
  EXPECT_SAYS(found.findings, "memory.does_not_fit", Severity::kProblem, "--device sim:1");
}

TEST(DoctorMemory, WhoElseHoldsIt) {
  DeviceSet devices(without_gpus({"memory=64MiB"}));
  const auto sim = devices.open({"sim", 0});
  const auto account = sim->open_account("another", MemoryAccount::no_limit);
  const Buffer taken = sim->allocate(size_t{63} << 20, account, Purpose::kWeights);
  const auto model = HostModel::open(read_spec(kModels / kModel, {}), {});
  Findings findings;
  EXPECT_FALSE(
      doctor::examine_plan(*model, devices, parse_device_names("sim:0"), {}, "tamis", findings));
  EXPECT_SAYS(findings, "memory.does_not_fit", Severity::kProblem, "1.05 MB available, free of");
  EXPECT_SAYS(findings, "memory.does_not_fit", Severity::kProblem, "\"another\" has 66.1 MB");
}

TEST(DoctorMemory, AControlGroupLimitsTheHost) {
  const FakeRoot root;
  eight_cores(root);
  root.write("/proc/self/cgroup", "0::/box\n");
  root.write("/proc/self/mountinfo", "30 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  root.write("/sys/fs/cgroup/box/memory.max", "2000000\n");
  root.write("/sys/fs/cgroup/box/memory.current", "1900000\n");
  const Planned found = plan({{}, "none.so", root.path()}, "cpu");
  EXPECT_FALSE(found.fits);
  EXPECT_SAYS(found.findings, "memory.does_not_fit", Severity::kProblem, "limits it to 2.00 MB");
}

TEST(DoctorMemory, TheUsersLimit) {
  PlacementOptions options;
  options.memory_limit_bytes = 0;
  const Planned none = plan(without_gpus(), "sim:0", options);
  EXPECT_FALSE(none.fits);
  EXPECT_SAYS(none.findings, "memory.limit", Severity::kProblem, "0 B available");
  EXPECT_SAYS(none.findings, "memory.limit", Severity::kProblem, "--memory-limit ");
  options.memory_limit_bytes = needed(DType::kF32, 4096);
  EXPECT_TRUE(plan(without_gpus(), "sim:0", options).fits);
  --*options.memory_limit_bytes;
  EXPECT_SAYS(plan(without_gpus(), "sim:0", options).findings, "memory.limit", Severity::kProblem,
              "--batch-tokens 2048");
}

TEST(DoctorPlace, WhereTheWeightsAre) {
  Placement good;
  good.device = "sim:0";
  good.dtype = "f32";
  good.on_device = true;
  Placement elsewhere = good;
  elsewhere.device = "sim:1";
  elsewhere.on_device = false;
  Placement dead = good;
  dead.device = "sim:2";
  dead.retired = true;
  dead.error = "the device is gone";
  Placement squeezed = good;
  squeezed.out_of_memory = 3;
  squeezed.batch_tokens = 4096;
  Findings findings;
  doctor::examine_placement({good}, {"sim:0"}, findings);
  EXPECT_SAYS(findings, "place.where", Severity::kOk, "says the device itself");
  EXPECT_EQ(findings.size(), 1u);
  findings.clear();
  doctor::examine_placement({good, elsewhere}, {"sim:0", "sim:1"}, findings);
  EXPECT_SAYS(findings, "place.elsewhere", Severity::kProblem, "sim:1");
  findings.clear();
  doctor::examine_placement({good, dead}, {"sim:0", "sim:2"}, findings);
  EXPECT_SAYS(findings, "place.retired", Severity::kProblem, "the device is gone");
  EXPECT_SAYS(findings, "place.missing", Severity::kProblem, "not on: sim:2");
  findings.clear();
  doctor::examine_placement({squeezed}, {"sim:0"}, findings);
  EXPECT_SAYS(findings, "place.out_of_memory", Severity::kWarning, "--batch-tokens 2048");
}

// ---- speed

doctor::Speed healthy() {
  doctor::Speed s;
  s.device = "cpu";
  s.batch_tokens = 1024;
  s.tiny = {1, 8, 2};
  s.small = {1, 64, 12};
  s.batches = {{1, 128, 25}, {2, 128, 48}, {4, 128, 95}, {8, 128, 190}};
  s.tokenize_ms = 2;
  s.inference_ms = 500;
  s.threads = 4;
  s.busy_cores = 3.9;
  return s;
}

Findings judged(const doctor::Speed& speed) {
  Findings out;
  doctor::judge_speed(speed, "tamis rerank --model M", out);
  return out;
}

TEST(DoctorSpeed, Healthy) {
  const Findings findings = judged(healthy());
  for (const Finding& f : findings) EXPECT_EQ(f.severity, Severity::kOk) << f.id;
  EXPECT_SAYS(findings, "speed.batch", Severity::kOk, "5389 tokens/s");
  EXPECT_SAYS(findings, "speed.single", Severity::kOk, "12.0 ms");
  EXPECT_SAYS(findings, "speed.tokenizing", Severity::kOk, "0.4 %");
  EXPECT_SAYS(findings, "cpu.starved", Severity::kOk, "3.9 cores");
  EXPECT_TRUE(judged({}).empty());
}

TEST(DoctorSpeed, TokenizingAboveAFifth) {
  doctor::Speed s = healthy();
  s.tokenize_ms = 130;
  EXPECT_SAYS(judged(s), "speed.tokenizing", Severity::kWarning, "20.6 %");
  s.tokenize_ms = 120;
  EXPECT_SAYS(judged(s), "speed.tokenizing", Severity::kOk, "19.4 %");
}

TEST(DoctorSpeed, BatchTooSmall) {
  doctor::Speed s = healthy();
  s.batch_tokens = 128;
  s.batches = {{1, 128, 20}, {2, 128, 21}, {4, 128, 22}, {8, 128, 43}};
  EXPECT_SAYS(judged(s), "speed.batch_small", Severity::kWarning, "--batch-tokens 512");
  EXPECT_SAYS(judged(s), "speed.batch_small", Severity::kWarning, "6400 tokens/s");
  s.batch_tokens = 512;
  EXPECT_SAYS(judged(s), "speed.batch", Severity::kOk, "512 tokens");
}

TEST(DoctorSpeed, OneByOne) {
  doctor::Speed s = healthy();
  s.small.ms = 48;
  EXPECT_SAYS(judged(s), "speed.single", Severity::kInfo, "--input FILE");
}

TEST(DoctorSpeed, LaunchBound) {
  doctor::Speed s = healthy();
  s.tiny.ms = 20;
  s.small.ms = 21;
  EXPECT_SAYS(judged(s), "speed.launch_bound", Severity::kWarning, "--batch-tokens 2048");
  s.batches.back().ms = 400;
  EXPECT_SAYS(judged(s), "speed.launch_bound", Severity::kInfo, "5 %");
  s.tiny.ms = 0.3;
  s.small.ms = 0.3;
  EXPECT_EQ(find(judged(s), "speed.launch_bound"), nullptr);
}

TEST(DoctorSpeed, StarvedThreads) {
  doctor::Speed s = healthy();
  s.busy_cores = 1.4;
  EXPECT_SAYS(judged(s), "cpu.starved", Severity::kWarning, "--threads 1");
}

TEST(DoctorSpeed, TimeWasUp) {
  doctor::Speed s;
  s.device = "cpu";
  s.out_of_time = true;
  EXPECT_SAYS(judged(s), "speed.not_measured", Severity::kInfo, "--seconds 60");
}

// ---- all of it

DoctorOptions whole(std::vector<std::string> sims, const std::string& device) {
  DoctorOptions out;
  out.model = kModels / kModel;
  out.load.device = device;
  DevicesOptions options;
  options.sims = std::move(sims);
  options.nvml_library = "libtamis-no-such-library.so.1";
  out.load.devices = std::make_shared<Devices>(options);
  return out;
}

TEST(Doctor, WithoutAModel) {
  DoctorOptions options = whole({}, "cpu");
  options.model.clear();
  const DoctorReport report = examine(options);
  EXPECT_TRUE(report.placement.empty());
  EXPECT_NE(find(report.findings, "device.asked"), nullptr);
  EXPECT_NE(find(report.findings, "cpu.isa"), nullptr);
  EXPECT_EQ(find(report.findings, "memory.plan"), nullptr);
}

TEST(Doctor, MeasuresAModel) {
  for (const char* device : {"cpu", "cpu,cpu", "sim:0", "sim:0,cpu"}) {
    const DoctorReport report = examine(whole({"memory=1GiB"}, device));
    EXPECT_SAYS(report.findings, "place.where", Severity::kOk, "says the device itself");
    EXPECT_NE(find(report.findings, "speed.tokenizing"), nullptr) << device;
    EXPECT_EQ(report.placement.size(),
              device == std::string("cpu") || device == std::string("sim:0") ? 1u : 2u);
    EXPECT_TRUE(
        std::is_sorted(report.findings.begin(), report.findings.end(),
                       [](const auto& a, const auto& b) { return a.severity > b.severity; }));
    for (const Finding& f : report.findings) EXPECT_NE(f.severity, Severity::kProblem) << f.id;
  }
}

TEST(Doctor, ASimulatedDeviceThatIsSlowToStart) {
  EXPECT_SAYS(examine(whole({"launch_us=500"}, "sim:0")).findings, "speed.launch_bound",
              Severity::kWarning, "does not shrink");
}

TEST(Doctor, SmallBatchesOnADeviceThatIsSlowToStart) {
  DoctorOptions options = whole({"launch_us=500"}, "sim:0");
  options.load.batch_tokens = 128;
  EXPECT_SAYS(examine(options).findings, "speed.batch_small", Severity::kWarning,
              "--batch-tokens ");
}

TEST(Doctor, ADeviceThatFailsMeanwhile) {
  const DoctorReport report = examine(whole({"fail_op=60"}, "sim:0,cpu"));
  EXPECT_SAYS(report.findings, "place.retired", Severity::kProblem, "sim:0");
}

TEST(Doctor, NoTimeToMeasure) {
  DoctorOptions options = whole({}, "cpu");
  options.limit_ms = 0;
  EXPECT_SAYS(examine(options).findings, "speed.not_measured", Severity::kInfo, "time was up");
}

TEST(Doctor, ProblemsAreFindingsNotErrors) {
  DoctorOptions options = whole({"memory=4KiB"}, "sim:0");
  EXPECT_NE(find(examine(options).findings, "memory.does_not_fit"), nullptr);
  options.load.device = "tpu";
  EXPECT_NE(find(examine(options).findings, "device.unknown"), nullptr);
  options.load.device = "cpu";
  options.load.memory_limit_bytes = 0;
  EXPECT_NE(find(examine(options).findings, "memory.limit"), nullptr);
  options.load.memory_limit_bytes.reset();
  options.model = kModels / "no-such-model";
  EXPECT_NE(find(examine(options).findings, "model.unreadable"), nullptr);
  options.model.clear();
  options.load.dtype = "f8";
  EXPECT_THROW(examine(options), Error);
}

TEST(Doctor, MaxLength) {
  DoctorOptions options = whole({}, "cpu");
  options.max_length = 16;
  EXPECT_SAYS(examine(options).findings, "model.max_length", Severity::kInfo, "after 16 tokens");
  options.max_length = 1 << 20;
  EXPECT_EQ(find(examine(options).findings, "model.max_length"), nullptr);
}

}  // namespace
}  // namespace tamis
