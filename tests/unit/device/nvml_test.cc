#include "device/nvml.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "fake_nvml.h"
#include "tamis/error.h"

namespace tamis {
namespace {

using fakes::FakeCard;
using fakes::FakeNvml;

constexpr unsigned long long kGB = 1'000'000'000;
constexpr int kNotSupported = 3;
constexpr int kGpuIsLost = 15;

// Keeps a fake library open, with a new machine in it.
class Fake {
 public:
  explicit Fake(const char* path, int cards = 1) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    const auto function = reinterpret_cast<fakes::FakeNvmlFunction*>(dlsym(handle_, "fake_nvml"));
    if (function == nullptr) throw std::runtime_error(dlerror());
    state_ = function();
    for (int i = 0; i < cards; ++i) {
      FakeCard card;
      card.uuid = "GPU-0000000" + std::to_string(i);
      card.name = "NVIDIA Fake " + std::to_string(i);
      card.total = 80 * kGB;
      card.used = static_cast<unsigned long long>(i + 1) * kGB;
      card.gpu_percent = static_cast<unsigned>(10 * i + 5);
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

std::unique_ptr<Nvml> must_open(const char* path) {
  std::string why_not;
  auto out = Nvml::open(path, &why_not);
  if (!out) throw std::runtime_error(why_not);
  return out;
}

TEST(NvmlOpen, NoneInstalled) {
  std::string why_not;
  EXPECT_EQ(Nvml::open("libtamis-no-such-library.so.1", &why_not), nullptr);
  EXPECT_NE(why_not.find("libtamis-no-such-library.so.1"), std::string::npos) << why_not;
  EXPECT_EQ(Nvml::open("/no/such/directory/libnvidia-ml.so.1"), nullptr);  // nobody asks why
}

TEST(NvmlOpen, AnotherLibrary) {
  std::string why_not;
  EXPECT_EQ(Nvml::open(FAKE_NOTHING, &why_not), nullptr);
  EXPECT_NE(why_not.find("has no function nvmlInit_v2"), std::string::npos) << why_not;
}

TEST(NvmlOpen, NoDriver) {
  const Fake fake(FAKE_NVML);
  fake->failures[{"nvmlInit_v2", -1}] = 9;
  std::string why_not;
  EXPECT_EQ(Nvml::open(FAKE_NVML, &why_not), nullptr);
  EXPECT_NE(why_not.find("nvmlInit_v2: Driver Not Loaded (error 9)"), std::string::npos) << why_not;
  EXPECT_EQ(fake->calls["nvmlShutdown"], 0);  // what did not start is not ended
}

TEST(NvmlOpen, OpensAndShutsDownAThousandTimes) {
  {
    const Fake fake(FAKE_NVML, 2);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(must_open(FAKE_NVML)->gpus().size(), 2u);
    EXPECT_EQ(fake->inits, 1000);
    EXPECT_EQ(fake->calls["nvmlShutdown"], 1000);
    EXPECT_EQ(fake->initialised, 0);
  }
  for (int i = 0; i < 1000; ++i) must_open(FAKE_NVML);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Nvml::open(FAKE_NOTHING), nullptr);
  // Nobody has them open any more.
  EXPECT_EQ(dlopen(FAKE_NVML, RTLD_NOW | RTLD_NOLOAD), nullptr);
  EXPECT_EQ(dlopen(FAKE_NOTHING, RTLD_NOW | RTLD_NOLOAD), nullptr);
}

TEST(NvmlOpen, TwoAtOnceShareTheLibrary) {
  const Fake fake(FAKE_NVML);
  const auto first = must_open(FAKE_NVML);
  must_open(FAKE_NVML).reset();
  EXPECT_EQ(first->gpus().size(), 1u);
}

TEST(Nvml, NothingButTheDocumentedCalls) {
  const Fake fake(FAKE_NVML);
  must_open(FAKE_NVML).reset();
  EXPECT_EQ(fake->calls.size(), 2u);  // opening asks no card anything: nvmlInit_v2, nvmlShutdown
}

TEST(Nvml, Versions) {
  const Fake fake(FAKE_NVML, 0);
  const auto nvml = must_open(FAKE_NVML);
  EXPECT_EQ(nvml->driver_version(), "550.54.15");
  EXPECT_EQ(nvml->cuda_version(), 12040);
  fake->driver_version = std::string(200, '5');  // does not fit
  fake->failures[{"nvmlSystemGetCudaDriverVersion_v2", -1}] = 999;
  EXPECT_EQ(nvml->driver_version(), "");
  EXPECT_EQ(nvml->cuda_version(), 0);
}

TEST(Nvml, NoCard) {
  const Fake fake(FAKE_NVML, 0);
  EXPECT_TRUE(must_open(FAKE_NVML)->gpus().empty());
}

TEST(Nvml, FourCards) {
  const Fake fake(FAKE_NVML, 4);
  const auto gpus = must_open(FAKE_NVML)->gpus();
  ASSERT_EQ(gpus.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    const GpuStatus& gpu = gpus[static_cast<size_t>(i)];
    EXPECT_EQ(gpu.index, i);
    EXPECT_EQ(gpu.uuid, "GPU-0000000" + std::to_string(i));
    EXPECT_EQ(gpu.name, "NVIDIA Fake " + std::to_string(i));
    EXPECT_EQ(gpu.total_bytes, 80 * kGB);
    EXPECT_EQ(gpu.used_bytes, static_cast<size_t>(i + 1) * kGB);
    EXPECT_EQ(gpu.free_bytes, 80 * kGB - gpu.used_bytes);
    EXPECT_EQ(gpu.utilisation_percent, 10 * i + 5);
    EXPECT_TRUE(gpu.processes.empty());
    EXPECT_EQ(gpu.problem, "");
  }
}

TEST(Nvml, ReadsAnewEachTime) {
  const Fake fake(FAKE_NVML);
  const auto nvml = must_open(FAKE_NVML);
  EXPECT_EQ(nvml->gpus().at(0).free_bytes, 79 * kGB);
  fake->cards[0].used = 30 * kGB;
  EXPECT_EQ(nvml->gpus().at(0).free_bytes, 50 * kGB);
}

TEST(Nvml, ALostCardBesideHealthyOnes) {
  const Fake fake(FAKE_NVML, 3);
  fake->failures[{"nvmlDeviceGetHandleByIndex_v2", 1}] = kGpuIsLost;
  const auto gpus = must_open(FAKE_NVML)->gpus();
  ASSERT_EQ(gpus.size(), 3u);
  EXPECT_EQ(gpus[0].problem, "");
  EXPECT_EQ(gpus[1].index, 1);
  EXPECT_EQ(gpus[1].problem, "nvmlDeviceGetHandleByIndex_v2: GPU is lost (error 15)");
  EXPECT_EQ(gpus[1].total_bytes, 0u);
  EXPECT_EQ(gpus[1].utilisation_percent, -1);
  EXPECT_EQ(gpus[2].problem, "");
  EXPECT_EQ(gpus[2].total_bytes, 80 * kGB);
}

TEST(Nvml, OneQueryThatFailsLeavesTheOthers) {
  struct Case {
    const char* function;
    bool uuid, name, memory, utilisation;
  };
  for (const Case& c : {Case{"nvmlDeviceGetUUID", false, true, true, true},
                        Case{"nvmlDeviceGetName", true, false, true, true},
                        Case{"nvmlDeviceGetMemoryInfo", true, true, false, true},
                        Case{"nvmlDeviceGetUtilizationRates", true, true, true, false}}) {
    const Fake fake(FAKE_NVML);
    fake->failures[{c.function, 0}] = 999;
    const GpuStatus gpu = must_open(FAKE_NVML)->gpus().at(0);
    EXPECT_EQ(gpu.problem, std::string(c.function) + ": Unknown Error (error 999)");
    EXPECT_EQ(!gpu.uuid.empty(), c.uuid) << c.function;
    EXPECT_EQ(!gpu.name.empty(), c.name) << c.function;
    EXPECT_EQ(gpu.total_bytes > 0, c.memory) << c.function;
    EXPECT_EQ(gpu.utilisation_percent >= 0, c.utilisation) << c.function;
  }
}

TEST(Nvml, TheFirstProblemIsTold) {
  const Fake fake(FAKE_NVML);
  fake->failures[{"nvmlDeviceGetMemoryInfo", -1}] = kGpuIsLost;
  fake->failures[{"nvmlDeviceGetComputeRunningProcesses_v3", -1}] = 4;
  EXPECT_EQ(must_open(FAKE_NVML)->gpus().at(0).problem,
            "nvmlDeviceGetMemoryInfo: GPU is lost (error 15)");
}

TEST(Nvml, WhatACardDoesNotTellIsNoProblem) {
  const Fake fake(FAKE_NVML);
  fake->failures[{"nvmlDeviceGetUtilizationRates", 0}] = kNotSupported;
  fake->failures[{"nvmlDeviceGetComputeRunningProcesses_v3", 0}] = kNotSupported;
  const GpuStatus gpu = must_open(FAKE_NVML)->gpus().at(0);
  EXPECT_EQ(gpu.problem, "");
  EXPECT_EQ(gpu.utilisation_percent, -1);
}

TEST(Nvml, WithoutTheirNumberAnError) {
  const Fake fake(FAKE_NVML);
  fake->failures[{"nvmlDeviceGetCount_v2", -1}] = 999;
  try {
    must_open(FAKE_NVML)->gpus();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_NE(std::string(error.what()).find("nvmlDeviceGetCount_v2"), std::string::npos);
  }
}

TEST(Nvml, TextOfAnyLength) {
  const Fake fake(FAKE_NVML, 2);
  fake->cards[0].name = std::string(95, 'n');  // fills the documented buffer
  fake->cards[1].name = std::string(96, 'n');
  const auto gpus = must_open(FAKE_NVML)->gpus();
  EXPECT_EQ(gpus.at(0).name.size(), 95u);
  EXPECT_EQ(gpus.at(1).problem, "nvmlDeviceGetName: Insufficient Size (error 7)");
}

// Every version of the call, and every size of record that version 3 was seen with.
struct Records {
  const char* library;
  size_t v3_bytes;
};

class NvmlProcesses : public ::testing::TestWithParam<Records> {};
INSTANTIATE_TEST_SUITE_P(Versions, NvmlProcesses,
                         ::testing::Values(Records{FAKE_NVML, 24}, Records{FAKE_NVML, 32},
                                           Records{FAKE_NVML, 16}, Records{FAKE_NVML_V2, 0},
                                           Records{FAKE_NVML_V1, 0}));

TEST_P(NvmlProcesses, AnyNumber) {
  for (const size_t count : {0, 1, 2, 3, 31, 32, 33, 500}) {
    const Fake fake(GetParam().library, 2);
    fake->v3_record_bytes = GetParam().v3_bytes;
    for (unsigned i = 0; i < count; ++i) {
      fake->cards[1].processes.push_back({4'000'000 + i, (i + 1) * kGB});
    }
    const auto gpus = must_open(GetParam().library)->gpus();
    EXPECT_TRUE(gpus.at(0).processes.empty());
    EXPECT_EQ(gpus.at(1).problem, "");
    ASSERT_EQ(gpus.at(1).processes.size(), count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(gpus[1].processes[i].pid, static_cast<int64_t>(4'000'000 + i));
      EXPECT_EQ(gpus[1].processes[i].bytes, (i + 1) * kGB);
    }
  }
}

TEST_P(NvmlProcesses, NamesAndUnknownMemory) {
  const Fake fake(GetParam().library);
  fake->v3_record_bytes = GetParam().v3_bytes;
  fake->cards[0].processes = {{static_cast<unsigned>(getpid()), ~0ULL}, {4'294'967'295u, kGB}};
  const auto processes = must_open(GetParam().library)->gpus().at(0).processes;
  ASSERT_EQ(processes.size(), 2u);
  EXPECT_EQ(processes[0].name, "device_test");
  EXPECT_EQ(processes[0].bytes, 0u);
  EXPECT_EQ(processes[1].name, "");
  EXPECT_EQ(processes[1].pid, 4'294'967'295);
}

TEST(Nvml, ProcessesThatAppearBetweenTwoCalls) {
  const Fake fake(FAKE_NVML);
  fake->cards[0].processes.assign(33, {1, kGB});
  fake->newcomers = 40;
  const GpuStatus gpu = must_open(FAKE_NVML)->gpus().at(0);
  EXPECT_EQ(gpu.problem, "");
  EXPECT_EQ(gpu.processes.size(), fake->cards[0].processes.size());
  EXPECT_GT(fake->calls["nvmlDeviceGetComputeRunningProcesses_v3"], 2);
}

TEST(Nvml, ALibraryThatNeverHasEnoughRoomIsGivenUp) {
  const Fake fake(FAKE_NVML);
  fake->failures[{"nvmlDeviceGetComputeRunningProcesses_v3", 0}] = 7;
  const GpuStatus gpu = must_open(FAKE_NVML)->gpus().at(0);
  EXPECT_EQ(gpu.problem, "nvmlDeviceGetComputeRunningProcesses: Insufficient Size (error 7)");
  EXPECT_LT(fake->calls["nvmlDeviceGetComputeRunningProcesses_v3"], 20);
}

TEST(Nvml, ALibraryWithoutTheCallTellsTheRest) {
  const Fake fake(FAKE_NVML_NONE);
  const GpuStatus gpu = must_open(FAKE_NVML_NONE)->gpus().at(0);
  EXPECT_EQ(gpu.problem, "");
  EXPECT_TRUE(gpu.processes.empty());
  EXPECT_EQ(gpu.total_bytes, 80 * kGB);
}

TEST(Nvml, ManyThreads) {
  const Fake fake(FAKE_NVML, 4);
  const auto nvml = must_open(FAKE_NVML);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        if (nvml->gpus().size() != 4 || nvml->driver_version().empty()) ++wrong;
        if (!Nvml::open(FAKE_NVML)) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(fake->initialised, 1);
}

}  // namespace
}  // namespace tamis
