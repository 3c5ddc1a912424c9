// Where a model is put, and what it is told when it cannot be put there.

#include "../base/fake_root.h"
#include "base/host.h"
#include "engine_fixture.h"

namespace tamis {
namespace {

const std::vector<std::string> kPlaces = {"cpu",   "cpu:0",       "cpu,cpu",   "ref",
                                          "sim:0", "sim:0,sim:1", "sim:0,cpu", "sim:0,sim:0"};

class Scores : public testing::TestWithParam<std::string> {};

TEST_P(Scores, AreTheCpusOnEveryPlace) {
  const Work work(40);
  const auto want = logits(Reranker::load(small_model()), work);
  LoadOptions options = on(GetParam());
  options.batch_tokens = 200;
  const Reranker reranker = Reranker::load(small_model(), options);
  expect_same(logits(reranker, work), want);
  for (const Placement& p : reranker.placement()) EXPECT_TRUE(p.on_device) << p.device;
}

TEST_P(Scores, OfEveryKindOfModelAreTheCpusOnEveryPlace) {
  const Work work(9);
  for (const char* name : {"bert-ce", "xlmr-ce-f16", "xlmr-bi-mean", "xlmr-bi-lasttoken-norm",
                           "bert-ce-labels2", "xlmr-ce-torch"}) {
    const auto want = logits(Reranker::load(small_model(name)), work);
    expect_same(logits(Reranker::load(small_model(name), on(GetParam())), work), want);
  }
}

std::string place_name(const testing::TestParamInfo<std::string>& info) {
  std::string out;
  for (char c : info.param) out += c == ',' ? "_and_" : c == ':' ? "" : std::string(1, c);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Places, Scores, testing::ValuesIn(kPlaces), place_name);

TEST(CpuFirst, AModelIsLoadedOnTheCpuWhenNobodySaysOtherwise) {
  const auto devices = on("cpu", {"memory=1GiB"}).devices;
  LoadOptions options;
  options.devices = devices;
  const Reranker reranker = Reranker::load(small_model(), options);
  EXPECT_EQ(reranker.device(), "cpu");
  ASSERT_EQ(reranker.placement().size(), 1u);
  EXPECT_TRUE(reranker.placement()[0].on_device);
  EXPECT_FALSE(devices->status("sim:0").open) << "a device that nobody named was opened";
}

TEST(CpuFirst, TheUserMovesItWhereHeWantsAndBack) {
  const Work work(20);
  Reranker reranker = Reranker::load(small_model(), on("cpu"));
  const auto want = logits(reranker, work);
  const MoveReport there = reranker.to("sim:1");
  EXPECT_EQ(there.from, "cpu");
  EXPECT_EQ(there.to, "sim:1");
  EXPECT_GT(there.weight_bytes, 0u);
  EXPECT_EQ(reranker.device(), "sim:1");
  EXPECT_TRUE(reranker.placement()[0].on_device);
  expect_same(logits(reranker, work), want);
  EXPECT_EQ(reranker.to("cpu").from, "sim:1");
  expect_same(logits(reranker, work), want, 0);
}

TEST(CpuFirst, MovingAwayLeavesNothingBehind) {
  const auto options = on("sim:0", {"memory=1GiB", "memory=1GiB"});
  Reranker reranker = Reranker::load(small_model(), options);
  EXPECT_GT(options.devices->status("sim:0").used_bytes, 0u);
  reranker.to("sim:1");
  EXPECT_FALSE(options.devices->status("sim:0").open);
  EXPECT_EQ(options.devices->status("sim:0").free_bytes, size_t{1} << 30);
  EXPECT_GT(options.devices->status("sim:1").used_bytes, 0u);
}

TEST(ForcedDevice, ANamedDeviceIsTheOnlyOneThatIsTouched) {
  const auto options = on("sim:1", {"", "", ""});
  const Reranker reranker = Reranker::load(small_model(), options);
  const Work work(5);
  logits(reranker, work);
  for (const DeviceStatus& status : options.devices->status()) {
    EXPECT_EQ(status.open, status.name == "sim:1") << status.name;
  }
}

TEST(ForcedDevice, ADeviceThatIsNotThereIsAnErrorAndNeverAnotherDevice) {
  expect_parts(
      error_of([] { Reranker::load(small_model(), on("gpu")); }, ErrorCode::kInvalidArgument),
      {"\"gpu\"", "cpu", "cuda:N", "auto"});
  for (const char* bad : {"", "cpu,", ",cpu", "cpu:", "cpu:x", "cpu:-1", "sim:-2", "cuda:1.5",
                          "auto,cpu", "cpu cpu", "99999999999999999999", "CPU"}) {
    error_of([&] { Reranker::load(small_model(), on(bad)); }, ErrorCode::kInvalidArgument);
  }
  expect_parts(
      error_of([] { Reranker::load(small_model(), on("cpu:99")); }, ErrorCode::kInvalidArgument),
      {"cpu:99", "cpu:0"});
}

TEST(ForcedDevice, ACardWithoutThePluginIsAnErrorThatSaysSo) {
  DevicesOptions devices;
  devices.cuda_plugin = "none";
  LoadOptions options;
  options.device = "cuda:0";
  options.devices = std::make_shared<Devices>(devices);
  expect_parts(error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kUnimplemented),
               {"cuda:0", "plug-in"});
}

TEST(ForcedDevice, AFailedMoveLeavesTheModelWhereItWas) {
  const Work work(10);
  Reranker reranker = Reranker::load(small_model(), on("sim:0", {"", "memory=64KiB", "gone=1"}));
  const auto want = logits(reranker, work);
  error_of([&] { reranker.to("nowhere"); }, ErrorCode::kInvalidArgument);
  error_of([&] { reranker.to("sim:1"); }, ErrorCode::kResourceExhausted);
  error_of([&] { reranker.to("sim:2"); }, ErrorCode::kUnavailable);
  EXPECT_EQ(reranker.device(), "sim:0");
  expect_same(logits(reranker, work), want, 0);
}

TEST(FlexibleAssignment, TwoModelsShareADeviceAndOneModelTakesSeveral) {
  auto options = on("sim:0", {"", ""});
  const Reranker first = Reranker::load(small_model("xlmr-ce"), options);
  options.device = "sim:0,sim:1,cpu";
  const Reranker second = Reranker::load(small_model("bert-ce"), options);
  EXPECT_EQ(second.device(), "sim:0,sim:1,cpu");
  const DeviceStatus shared = options.devices->status("sim:0");
  ASSERT_EQ(shared.models.size(), 2u);
  EXPECT_EQ(shared.models[0].model, "xlmr-ce");
  EXPECT_EQ(shared.models[1].model, "bert-ce");
  EXPECT_EQ(shared.used_bytes, shared.models[0].weight_bytes + shared.models[0].workspace_bytes +
                                   shared.models[1].weight_bytes +
                                   shared.models[1].workspace_bytes);
  const Work work(30);
  expect_same(logits(first, work), logits(Reranker::load(small_model("xlmr-ce")), work));
  expect_same(logits(second, work), logits(Reranker::load(small_model("bert-ce")), work));
}

TEST(FlexibleAssignment, CpuReplicasSplitTheCoresAndShareTheWeights) {
  auto options = on("cpu");
  options.threads = 2;
  Reranker reranker = Reranker::load(small_model(), options);
  const size_t alone = reranker.placement()[0].weight_bytes;
  reranker.to("cpu,cpu");
  const auto placement = reranker.placement();
  ASSERT_EQ(placement.size(), 2u);
  EXPECT_EQ(placement[0].threads, 1);
  EXPECT_EQ(placement[1].threads, 1);
  EXPECT_FALSE(placement[0].shares_weights);
  EXPECT_TRUE(placement[1].shares_weights);
  EXPECT_FALSE(placement[0].cores.empty());
  const DeviceStatus cpu = options.devices->status("cpu");
  EXPECT_EQ(cpu.models.at(0).weight_bytes, alone) << "a second replica copied weights";
}

TEST(FlexibleAssignment, ANumaNodeIsADeviceWithItsOwnCoresAndMemory) {
  const std::vector<int> cores = HostProbe().cores();
  if (cores.size() < 2) GTEST_SKIP() << "needs two cores";
  const auto core = [&](size_t i) { return std::to_string(cores[i]) + "\n"; };
  FakeRoot root;
  root.write("sys/devices/system/node/online", "0-1\n");
  root.write("sys/devices/system/node/node0/cpulist", core(0));
  root.write("sys/devices/system/node/node1/cpulist", core(1));
  root.write("sys/devices/system/node/node0/meminfo",
             "Node 0 MemTotal: 4000000 kB\nNode 0 MemFree: 3000000 kB\n");
  root.write("sys/devices/system/node/node1/meminfo",
             "Node 1 MemTotal: 2000000 kB\nNode 1 MemFree: 100 kB\n");
  root.write("proc/meminfo", "MemTotal: 6000000 kB\nMemAvailable: 3500000 kB\n");
  LoadOptions options;
  options.devices = std::make_shared<Devices>(DevicesOptions{{}, "none", root.path()});
  options.device = "cpu:0";
  const Reranker reranker = Reranker::load(small_model(), options);
  EXPECT_EQ(reranker.placement()[0].cores, std::vector<int>{cores[0]});
  EXPECT_EQ(reranker.placement()[0].threads, 1);
  const Work work(10);
  expect_same(logits(reranker, work), logits(Reranker::load(small_model()), work));
  options.device = "cpu:0,cpu:1";
  expect_parts(
      error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kResourceExhausted),
      {"cpu:1", "102 KB available", "free of 2.05 GB"});
}

TEST(FlexibleAssignment, AutoTakesTheAcceleratorWithTheMostFreeMemoryAndSaysWhy) {
  auto options = on("auto", {"memory=1GiB", "memory=3GiB", "memory=2GiB"});
  const Reranker reranker = Reranker::load(small_model(), options);
  EXPECT_EQ(reranker.device(), "sim:1");
  Reranker other = Reranker::load(small_model(), on("cpu", {"memory=1MB"}));
  const MoveReport report = other.to("auto");
  EXPECT_EQ(report.to, "cpu");
  expect_parts(report.reason, {"auto chose cpu", "sim:0 has 1.00 MB free", "needed"});
  EXPECT_EQ(Reranker::load(small_model(), on("auto")).device(), "cpu");
}

class Isolation : public testing::TestWithParam<std::string> {};

TEST_P(Isolation, AModelHasItsOwnLimitAndSurvivesTheFailuresOfAnother) {
  auto options = on(GetParam(), {"", ""});
  const Reranker steady = Reranker::load(small_model(), options);
  options.device = "sim:1";
  const Reranker doomed = Reranker::load(small_model("bert-ce"), options);
  const Work work(10);
  const auto want = logits(steady, work);
  options.devices->describe_sim("sim:1", "gone=1");
  error_of([&] { logits(doomed, work); }, ErrorCode::kUnavailable);
  expect_same(logits(steady, work), want, 0);
  options.device = GetParam();
  options.memory_limit_bytes = 1000;
  error_of([&] { Reranker::load(small_model("bert-ce"), options); }, ErrorCode::kResourceExhausted);
  expect_same(logits(steady, work), want, 0);
}

INSTANTIATE_TEST_SUITE_P(Places, Isolation, testing::Values("cpu", "sim:0"), place_name);

TEST(MemoryPlan, WhatDoesNotFitIsRefusedWithBothNumbersAndWhatWould) {
  for (const char* device : {"cpu", "sim:0"}) {
    auto options = on(device);
    const MemoryPlan plan = describe_model(small_model(), options).plan;
    const size_t needed = plan.weight_bytes + plan.workspace_bytes;
    options.memory_limit_bytes = needed;
    EXPECT_NO_THROW(Reranker::load(small_model(), options)) << device;
    options.memory_limit_bytes = needed - 1;
    expect_parts(
        error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kResourceExhausted),
        {device, "needed", "available", "memory limit", "what would fit", "batches of"});
    options.memory_limit_bytes = 0;
    expect_parts(
        error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kResourceExhausted),
        {"0 B available", "neither"});
  }
  const auto tiny = on("sim:0", {"memory=100KB"});
  expect_parts(
      error_of([&] { Reranker::load(small_model(), tiny); }, ErrorCode::kResourceExhausted),
      {"sim:0", "100 KB available", "free of 100 KB"});
  EXPECT_EQ(tiny.devices->status("sim:0").used_bytes, 0u);
}

TEST(MemoryPlan, WhatWouldFitDoes) {
  for (const char* device : {"cpu", "cpu,cpu", "sim:0", "sim:0,sim:0"}) {
    auto options = on(device);
    const MemoryPlan plan = describe_model(small_model(), options).plan;
    options.memory_limit_bytes = plan.weight_bytes + plan.workspace_bytes / 2;
    const std::string refusal =
        error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kResourceExhausted);
    const std::string_view lead = "batches of ";
    const size_t advice = refusal.rfind(lead);
    ASSERT_GT(advice, refusal.find("what would fit")) << refusal;
    options.batch_tokens = std::stoul(refusal.substr(advice + lead.size()));
    EXPECT_NO_THROW(Reranker::load(small_model(), options)) << refusal;
  }
}

TEST(Compatibility, EveryStorageTypeRunsInEveryOtherOnEveryPlace) {
  const Work work(12);
  for (const char* name : {"xlmr-ce", "xlmr-ce-f16", "xlmr-ce-bf16-labels3"}) {
    const auto exact = logits(Reranker::load(small_model(name)), work);
    for (const char* device : {"cpu", "ref", "sim:0"}) {
      for (auto [dtype, tolerance] : {std::pair{"f32", 1e-4}, {"f16", 1e-2}, {"bf16", 8e-2}}) {
        auto options = on(device);
        options.dtype = dtype;
        const Reranker reranker = Reranker::load(small_model(name), options);
        EXPECT_EQ(reranker.placement()[0].dtype, dtype);
        expect_same(logits(reranker, work), exact, tolerance);
      }
    }
  }
  auto options = on("cpu");
  options.dtype = "f8";
  expect_parts(
      error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kInvalidArgument),
      {"f8", "f32, f16, bf16 or int8"});
}

TEST(SixteenBit, ReplicasTakeHalfTheMemoryAndKeepTheirDtypeWhenTheyMove) {
  auto options = on("cpu");
  const size_t f32 = describe_model(small_model(), options).plan.weight_bytes;
  options.dtype = "f16";
  Reranker reranker = Reranker::load(small_model(), options);
  EXPECT_LT(reranker.placement()[0].weight_bytes, f32 * 7 / 10);
  const Work work(12);
  const auto want = logits(reranker, work);
  reranker.to("sim:0");
  EXPECT_EQ(reranker.placement()[0].dtype, "f16");
  // The cpu reads words from the file, in f32; the device's own table is f16.
  expect_same(logits(reranker, work), want, kF16Apart);
  MoveOptions wider;
  wider.dtype = "f32";
  reranker.place().to("sim:0", wider);
  EXPECT_EQ(reranker.placement()[0].dtype, "f32");
}

}  // namespace
}  // namespace tamis
