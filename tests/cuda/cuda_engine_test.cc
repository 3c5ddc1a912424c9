// The whole engine on cards: placing, moving, failing, running out of memory, as tests/unit/engine
// has it for simulated devices, with the CUDA plug-in over fakes.

#include <atomic>
#include <functional>
#include <thread>

#include "../unit/engine/engine_fixture.h"
#include "cuda_fixture.h"
#include "device/device_set.h"
#include "tamis/embedder.h"

namespace tamis {
namespace {

LoadOptions on_cards(const std::string& device, const std::string& cuda = {}) {
  DevicesOptions devices;
  devices.nvml_library = "none";
  devices.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
  devices.cuda_options = cuda;
  LoadOptions options;
  options.device = device;
  options.batch_tokens = 1024;
  options.devices = std::make_shared<Devices>(devices);
  return options;
}

constexpr size_t kCardBytes = size_t{64} << 20;

struct Place {
  std::string devices;
  unsigned seed;
  bool last_warp_first;
  std::string cuda;
  friend void PrintTo(const Place& p, std::ostream* out) { *out << p.devices << " " << p.seed; }
};

class CudaScores : public testing::TestWithParam<Place> {
 protected:
  CudaScores() {
    machine_.fake().set_seed(GetParam().seed);
    emulation::settings().last_warp_first = GetParam().last_warp_first;
  }
  FakeMachine machine_{2, kCardBytes};
};

TEST_P(CudaScores, AreTheCpus) {
  const Work work(10);
  const auto want = logits(Reranker::load(small_model()), work);
  LoadOptions options = on_cards(GetParam().devices, GetParam().cuda);
  options.batch_tokens = 120;
  const Reranker reranker = Reranker::load(small_model(), options);
  expect_same(logits(reranker, work), want);
  expect_same(logits(reranker, work), want);
  for (const tamis::Placement& p : reranker.placement()) EXPECT_TRUE(p.on_device) << p.device;
}

INSTANTIATE_TEST_SUITE_P(Places, CudaScores,
                         testing::Values(Place{"cuda:0", 1, false, ""},
                                         Place{"cuda:0", 2, true, ""},
                                         Place{"cuda:1", 3, false, "attention=plain"},
                                         Place{"cuda:0", 4, false, "graphs=on"},
                                         Place{"cuda:0,cuda:1", 5, true, "graphs=on"},
                                         Place{"cuda:0,cuda:1", 6, false, ""},
                                         Place{"cuda:0,cpu", 7, false, ""},
                                         Place{"cuda:0,cuda:0", 8, false, ""}));

TEST(CudaScoresOfEveryModel, AreTheCpus) {
  const FakeMachine machine(1, kCardBytes);
  const Work work(6);
  for (const char* name : {"bert-ce", "xlmr-ce-f16", "xlmr-bi-mean", "xlmr-bi-lasttoken-norm",
                           "bert-ce-labels2", "xlmr-ce-torch"}) {
    const auto want = logits(Reranker::load(small_model(name)), work);
    expect_same(logits(Reranker::load(small_model(name), on_cards("cuda:0")), work), want);
  }
}

/// All numbers of an embedder's outputs, one after the other.
std::vector<float> all_numbers(const Embedder& embedder, const Work& work, bool dense,
                               bool tokens) {
  EmbedOptions options;
  options.dense = dense;
  options.sparse = tokens || !dense;
  options.colbert = tokens;
  const Embeddings e = embedder.embed(work.passages, options);
  std::vector<float> out = e.values;
  out.insert(out.end(), e.colbert_values.begin(), e.colbert_values.end());
  for (const SparseVector& sparse : e.sparse) {
    out.insert(out.end(), sparse.weights.begin(), sparse.weights.end());
  }
  return out;
}

TEST(CudaEmbeddings, OfEveryKindAreTheCpus) {
  const FakeMachine machine(1, kCardBytes);
  const Work work(5);
  struct Kind {
    const char* name;
    bool dense, tokens;
  };
  for (const Kind& k :
       {Kind{"xlmr-m3", true, true}, {"xlmr-bi-mlm", false, false}, {"bert-bi-cls", true, false}}) {
    LoadOptions here, there = on_cards("cuda:0");
    if (!k.dense) here.pooling = there.pooling = Pooling::kSplade;
    const auto want =
        all_numbers(Embedder::load(small_model(k.name), here), work, k.dense, k.tokens);
    ASSERT_FALSE(want.empty());
    expect_same(all_numbers(Embedder::load(small_model(k.name), there), work, k.dense, k.tokens),
                want);
  }
}

TEST(CudaScoresIn16Bits, AreNearTheCpus) {
  const FakeMachine machine(1, kCardBytes);
  const Work work(12);
  const auto want = logits(Reranker::load(small_model()), work);
  for (const auto& [dtype, tolerance] : {std::pair{"f16", 5e-3}, {"bf16", 3e-2}}) {
    LoadOptions options = on_cards("cuda:0");
    options.dtype = dtype;
    expect_same(logits(Reranker::load(small_model(), options), work), want, tolerance);
  }
}

TEST(CudaScoresInt8, AreRefusedWithWhatToDo) {
  const FakeMachine machine(1, kCardBytes);
  LoadOptions options = on_cards("cuda:0");
  options.dtype = "int8";
  expect_parts(error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kUnimplemented),
               {"cuda:0", "int8", "cpu", "f16"});
}

TEST(CudaBatch, IsOneCopyInAndOneCopyOut) {
  const FakeMachine machine(1, kCardBytes);
  const Reranker reranker = Reranker::load(small_model(), on_cards("cuda:0"));
  const Work work(8);
  logits(reranker, work);
  machine.fake().reset_counters();
  logits(reranker, work);
  EXPECT_EQ(machine.counts().h2d_copies, 1);
  EXPECT_EQ(machine.counts().d2h_copies, 1);
  EXPECT_EQ(machine.counts().calls["cudaMalloc"], 0);
}

TEST(CudaGraphs, AreRecordedOnceForAShapeAndLaunchedAgain) {
  const FakeMachine machine(1, kCardBytes);
  const Reranker reranker = Reranker::load(small_model(), on_cards("cuda:0", "graphs=on"));
  const Work work(3);
  const auto first = logits(reranker, work);
  machine.fake().reset_counters();
  expect_same(logits(reranker, work), first, 0);
  EXPECT_EQ(machine.counts().graph_launches, 1);
  EXPECT_EQ(machine.counts().calls["cudaLaunchKernel"], 0);
  EXPECT_EQ(machine.counts().calls["cudaStreamBeginCapture"], 0);
  EXPECT_EQ(machine.counts().h2d_copies, 1);
}

TEST(CudaGraphs, AreOffUnlessSomebodyTurnsThemOn) {
  const FakeMachine machine(1, kCardBytes);
  logits(Reranker::load(small_model(), on_cards("cuda:0")), Work(3));
  EXPECT_EQ(machine.counts().graph_launches, 0);
}

TEST(CudaMemory, IsThePlanByteForByte) {
  const FakeMachine machine(1, kCardBytes);
  for (const char* dtype : {"f32", "f16", "bf16"}) {
    LoadOptions options = on_cards("cuda:0");
    options.dtype = dtype;
    const MemoryPlan plan = describe_model(small_model(), options).plan;
    const Reranker reranker = Reranker::load(small_model(), options);
    const DeviceStatus status = options.devices->status("cuda:0");
    EXPECT_EQ(status.used_bytes, plan.weight_bytes + plan.workspace_bytes);
    EXPECT_EQ(machine.fake().live().allocated_bytes, plan.weight_bytes + plan.workspace_bytes);
    logits(reranker, Work(10));
    EXPECT_EQ(options.devices->status("cuda:0").peak_bytes,
              plan.weight_bytes + plan.workspace_bytes);
  }
}

TEST(CudaMemory, ThatDoesNotFitIsRefusedWithBothNumbers) {
  const FakeMachine machine(1, size_t{16} << 20);
  expect_parts(error_of([] { Reranker::load(small_model(), on_cards("cuda:0")); },
                        ErrorCode::kResourceExhausted),
               {"cuda:0", "needed", "available", "what would fit"});
}

TEST(CudaMemory, ThatRunsOutAtAnyAllocationOfALoadFailsCleanlyOrNotAtAll) {
  const Work work(2);
  const auto want = logits(Reranker::load(small_model()), work);
  int failed = 0, passed = 0;
  for (int n = 1; passed == 0; ++n) {
    ASSERT_LT(n, 100);
    const FakeMachine machine(1, kCardBytes);
    machine.fail_allocation(n);
    try {
      const Reranker reranker = Reranker::load(small_model(), on_cards("cuda:0"));
      expect_same(logits(reranker, work), want);
      passed += machine.counts().allocation_attempts < n;  // the n-th never came
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted) << error.what();
      ++failed;
    }
    machine.expect_nothing_left("after allocation " + std::to_string(n));
  }
  EXPECT_GE(failed, 3);
}

TEST(CudaMemory, ThatRunsOutDuringARequestHalvesTheBatchAndSucceeds) {
  const FakeMachine machine(1, kCardBytes);
  LoadOptions options = on_cards("cuda:0");
  Reranker reranker = Reranker::load(small_model(), options);
  const Work work(20);
  const auto want = logits(reranker, work);
  for (int n = 1; n <= 3; ++n) {
    reranker.place().trim();
    machine.fail_allocation(n);
    RerankOptions batches;
    batches.batch_tokens = 200;
    expect_same(logits(reranker, work, batches), want);
    machine.fake().fail_allocation(0);
  }
  EXPECT_EQ(reranker.device(), "cuda:0");
}

TEST(CudaDevice, ThatNobodyNamedIsNotTouched) {
  const FakeMachine machine(3, kCardBytes);
  const LoadOptions options = on_cards("cuda:1");
  const Reranker reranker = Reranker::load(small_model(), options);
  logits(reranker, Work(5));
  for (int card : {0, 1, 2}) EXPECT_EQ(machine.counts().commands[card] > 0, card == 1) << card;
}

TEST(CudaDevice, ThatIsNotThereIsAnErrorThatListsThoseThatAre) {
  const FakeMachine machine(2, kCardBytes);
  expect_parts(error_of([] { Reranker::load(small_model(), on_cards("cuda:7")); },
                        ErrorCode::kInvalidArgument),
               {"cuda:7", "cuda:0 (Fake GPU 0)", "cuda:1 (Fake GPU 1)"});
}

TEST(CudaDevice, WithoutADriverOrWithAnOldOneOrAnOldCardSaysSo) {
  {
    fakes::FakeSetup setup;
    setup.driver_version = 0;
    const FakeMachine machine(setup);
    expect_parts(
        error_of([] { Reranker::load(small_model(), on_cards("cuda")); }, ErrorCode::kUnavailable),
        {"cuda:0", "no NVIDIA driver", "cpu"});
  }
  {
    fakes::FakeSetup setup;
    setup.driver_version = 12040;
    const FakeMachine machine(setup);
    expect_parts(
        error_of([] { Reranker::load(small_model(), on_cards("cuda")); }, ErrorCode::kUnavailable),
        {"cuda:0", "knows CUDA 12.4", "CUDA 13.0"});
  }
  const FakeMachine machine(1, kCardBytes, 70);
  expect_parts(
      error_of([] { Reranker::load(small_model(), on_cards("cuda")); }, ErrorCode::kUnavailable),
      {"sm_70", "too old", "sm_75"});
}

TEST(CudaDevice, OfAnOptionThatNobodyKnowsIsRefused) {
  expect_parts(error_of([] { on_cards("cuda:0", "graphs=yes"); }, ErrorCode::kInvalidArgument),
               {"graphs=yes", "graphs=on|off", "attention=fused|plain or nccl=FILE"});
}

TEST(CudaMove, ThereAndBackLeavesNothingBehind) {
  const FakeMachine machine(2, kCardBytes);
  const Work work(10);
  Reranker reranker = Reranker::load(small_model(), on_cards("cpu"));
  const auto want = logits(reranker, work);
  for (const char* place : {"cuda:0", "cuda:1", "cuda:0,cuda:1", "cpu"}) {
    reranker.to(place);
    expect_same(logits(reranker, work), want);
  }
  machine.expect_nothing_left("on the cpu again");
  error_of([&] { reranker.to("cuda:9"); }, ErrorCode::kInvalidArgument);
  EXPECT_EQ(reranker.device(), "cpu");
}

TEST(CudaMove, UnderLoadLosesNothing) {
  const FakeMachine machine(2, kCardBytes);
  const Work work(2);
  Reranker reranker = Reranker::load(small_model(), on_cards("cpu"));
  const auto want = logits(reranker, work);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, done{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        try {
          const auto got = logits(reranker, work);
          for (size_t k = 0; k < got.size(); ++k) wrong += !(std::abs(got[k] - want[k]) <= 1e-5f);
        } catch (const Error&) {
          ++wrong;
        }
        ++done;
      }
    });
  }
  for (const char* place : {"cuda:0", "cuda:0,cuda:1", "cpu", "cuda:1", "cpu"}) {
    for (const int until = done + 2; done < until;) std::this_thread::yield();
    reranker.to(place);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(CudaCards, OfDifferentSizeAndSpeedShareACall) {
  fakes::FakeSetup setup;
  setup.devices.resize(4);
  for (size_t i = 0; i < 4; ++i) {
    setup.devices[i].memory_bytes = kCardBytes << i;
    setup.devices[i].slow_factor = 1 + 3 * static_cast<double>(i);
  }
  const FakeMachine machine(setup);
  LoadOptions options = on_cards("cuda:0,cuda:1,cuda:2,cuda:3");
  options.batch_tokens = 64;
  const Reranker reranker = Reranker::load(small_model(), options);
  const Work work(30);
  const auto want = logits(Reranker::load(small_model()), work);
  for (int i = 0; i < 3; ++i) expect_same(logits(reranker, work), want);
  for (int card : {0, 1, 2, 3}) EXPECT_GT(machine.counts().commands[card], 100) << card;
  EXPECT_EQ(options.devices->status("cuda:3").total_bytes, kCardBytes * 8);
}

TEST(CudaFailure, OfACardRetiresItAndItsWorkRunsElsewhere) {
  for (const int at : {1, 3, 40}) {
    const FakeMachine machine(2, kCardBytes);
    LoadOptions options = on_cards("cuda:0,cuda:1,cpu");
    options.batch_tokens = 128;
    const Reranker reranker = Reranker::load(small_model(), options);
    const Work work(20);
    const auto want = logits(Reranker::load(small_model()), work);
    machine.fake().break_device(0, at, cudaErrorIllegalAddress);
    expect_same(logits(reranker, work), want);
    expect_same(logits(reranker, work), want);
  }
}

TEST(CudaFailure, OfTheOnlyCardFailsTheCallAndTheModelCanBeMoved) {
  const FakeMachine machine(1, kCardBytes);
  Reranker reranker = Reranker::load(small_model(), on_cards("cuda:0"));
  const Work work(5);
  machine.fake().break_device(0, 4, cudaErrorIllegalAddress);
  expect_parts(error_of([&] { logits(reranker, work); }, ErrorCode::kUnavailable),
               {"cuda:0", "cudaErrorIllegalAddress"});
  reranker.to("cpu");
  expect_same(logits(reranker, work), logits(Reranker::load(small_model()), work));
}

// Proves the fake as much as the backend: with the wait the numbers are there, without it they are
// not always.
TEST(CudaStreams, AnEventOrdersTwoAndTheFakeShowsItsAbsence) {
  const auto run = [](bool with_wait, unsigned seed) {
    const FakeMachine machine(1, kCardBytes);
    machine.fake().set_seed(seed);
    DeviceSetOptions set;
    set.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
    const auto device = DeviceSet(set).open({"cuda", 0});
    const auto account = device->open_account("test", MemoryAccount::no_limit);
    const Buffer a = device->allocate(1024, account, Purpose::kWorkspace);
    const auto one = device->make_stream({}), two = device->make_stream({});
    const std::vector<float> in(256, 7.0f);
    std::vector<float> out(256);
    one->upload(a.data(), in.data(), 1024);
    const auto event = one->record();
    if (with_wait) two->wait(*event);
    two->download(out.data(), a.data(), 1024);
    two->synchronize(std::chrono::seconds(5));
    one->synchronize(std::chrono::seconds(5));
    return out == in;
  };
  int lucky = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    EXPECT_TRUE(run(true, seed)) << seed;
    lucky += run(false, seed);
  }
  EXPECT_LT(lucky, 20);
}

TEST(CudaStreams, AnEventThatIsWaitedForHasDeliveredTheDownloadsBeforeIt) {
  const FakeMachine machine(1, kCardBytes);
  DeviceSetOptions set;
  set.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
  const auto device = DeviceSet(set).open({"cuda", 0});
  const auto account = device->open_account("test", MemoryAccount::no_limit);
  const Buffer a = device->allocate(1024, account, Purpose::kWorkspace);
  const auto stream = device->make_stream({});
  const std::vector<float> in(256, 7.0f);
  std::vector<float> out(256);
  stream->upload(a.data(), in.data(), 1024);
  stream->download(out.data(), a.data(), 1024);
  stream->record()->synchronize(std::chrono::seconds(5));
  EXPECT_EQ(out, in);
}

TEST(CudaPlugin, OfNvidiasLibrariesOpensHereAndWithoutADriverSaysSo) {
  DevicesOptions devices;
  devices.cuda_plugin = TAMIS_CUDA_PLUGIN;
  devices.nvml_library = "none";
  LoadOptions options;
  options.device = "cuda:0";
  options.devices = std::make_shared<Devices>(devices);
  try {
    const Reranker reranker = Reranker::load(small_model(), options);
    GTEST_SKIP() << "this machine has a card: tamis selftest --device cuda:0 is the test";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    expect_parts(error.what(), {"cuda:0", "driver"});
  }
}

TEST(CudaPlugin, ThatIsNotOneOrOfAnotherBuildIsRefused) {
  DevicesOptions devices;
  devices.nvml_library = "none";
  LoadOptions options;
  options.device = "cuda:0";
  for (const char* wrong : {"/nowhere/libtamis_cuda.so", "libm.so.6"}) {
    devices.cuda_plugin = wrong;
    options.devices = std::make_shared<Devices>(devices);
    expect_parts(
        error_of([&] { Reranker::load(small_model(), options); }, ErrorCode::kUnimplemented),
        {"cuda:0", "plug-in", "cpu"});
  }
}

}  // namespace
}  // namespace tamis
