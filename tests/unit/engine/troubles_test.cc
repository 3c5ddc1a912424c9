// The three troubles of users, each by its name, on the cpu and on an accelerator: low use of the
// device, the wrong card, out of memory. What the doctor says of them, and the advice it ends with.

#include "doctor_test.h"
#include "tamis/error.h"
#include "tamis/reranker.h"

namespace tamis {
namespace {

DoctorOptions asked(const std::string& device, std::vector<std::string> sims = {}) {
  DoctorOptions options;
  options.model = std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models/xlmr-ce";
  options.load.device = device;
  options.load.devices = std::make_shared<Devices>(
      DevicesOptions{std::move(sims), "libtamis-no-such-library.so.1", "/"});
  options.limit_ms = 2000;
  return options;
}

class EachPlace : public testing::TestWithParam<std::string> {};

using LowUse = EachPlace;
using WrongCard = EachPlace;
using OutOfMemory = EachPlace;

TEST_P(LowUse, SaysWhereTheWeightsReallyAre) {
  const DoctorReport report = examine(asked(GetParam()));
  EXPECT_SAYS(report.findings, "place.where", Severity::kOk, GetParam());
  ASSERT_EQ(report.placement.size(), 1u);
  EXPECT_EQ(report.placement[0].device, GetParam());
  EXPECT_TRUE(report.placement[0].on_device);
}

TEST(LowUseOfTheCpu, NamesThreadsThatHaveNoCores) {
  DoctorOptions options = asked("cpu");
  options.load.threads = 64;
  EXPECT_SAYS(examine(options).findings, "cpu.threads", Severity::kWarning, "64");
}

TEST(LowUseOfAnAccelerator, NamesTheBatchThatIsTooSmallAndOneThatIsNot) {
  DoctorOptions options = asked("sim:0", {"launch_us=500"});
  options.load.batch_tokens = 128;
  EXPECT_SAYS(examine(options).findings, "speed.batch_small", Severity::kWarning,
              "--batch-tokens ");
}

TEST_P(WrongCard, IsNeverTakenInThePlaceOfOneThatIsNotThere) {
  DoctorOptions options = asked(GetParam() + ",cuda:3", {""});
  const DoctorReport report = examine(options);
  EXPECT_TRUE(report.placement.empty());
  const bool named =
      std::any_of(report.findings.begin(), report.findings.end(), [](const Finding& finding) {
        return finding.severity == Severity::kProblem && !finding.fix.empty() &&
               (finding.title + finding.what).find("cuda:3") != std::string::npos;
      });
  EXPECT_TRUE(named);
  EXPECT_THROW(Reranker::load(options.model, options.load), Error);
  EXPECT_FALSE(options.load.devices->status(GetParam()).open);
}

TEST_P(OutOfMemory, GivesThePlanTheLimitAndWhatWouldFit) {
  DoctorOptions options = asked(GetParam());
  options.load.memory_limit_bytes = 100'000;
  const DoctorReport report = examine(options);
  EXPECT_SAYS(report.findings, "memory.limit", Severity::kProblem, "needed");
  EXPECT_SAYS(report.findings, "memory.limit", Severity::kProblem, "100 KB");
  EXPECT_SAYS(report.findings, "memory.limit", Severity::kProblem, "--memory-limit ");
}

std::string place_name(const testing::TestParamInfo<std::string>& info) {
  return info.param == "cpu" ? "cpu" : "sim";
}

INSTANTIATE_TEST_SUITE_P(Low, LowUse, testing::Values("cpu", "sim:0"), place_name);
INSTANTIATE_TEST_SUITE_P(Wrong, WrongCard, testing::Values("cpu", "sim:0"), place_name);
INSTANTIATE_TEST_SUITE_P(Full, OutOfMemory, testing::Values("cpu", "sim:0"), place_name);

}  // namespace
}  // namespace tamis
