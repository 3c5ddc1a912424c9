// Several cards that train one model, by the fake NCCL or through the host; and products in 16
// bits.

#include <dlfcn.h>

#include <cmath>

#include "../unit/train/train_fixture.h"
#include "cuda_fixture.h"

namespace tamis::training {
namespace {

constexpr size_t kCardBytes = size_t{64} << 20;

/// The fake, held open so that its count lives.
class FakeNccl {
 public:
  FakeNccl() : library_(dlopen(TAMIS_FAKE_NCCL, RTLD_NOW)) { EXPECT_NE(library_, nullptr); }
  ~FakeNccl() { dlclose(library_); }
  FakeNccl(const FakeNccl&) = delete;
  FakeNccl& operator=(const FakeNccl&) = delete;
  long sums() const { return reinterpret_cast<long (*)()>(dlsym(library_, "fake_nccl_sums"))(); }

 private:
  void* library_;
};

TrainOptions cards_run(const fs::path& out, const std::string& name, TrainTask task,
                       const std::string& cards, const std::string& nccl = TAMIS_FAKE_NCCL) {
  TrainOptions o = small_run(out, name);
  o.task = task;
  o.max_steps = 3;
  o.negatives_cross_device = task != TrainTask::kReranker;
  DevicesOptions devices;
  devices.nvml_library = "none";
  devices.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
  devices.cuda_options = "nccl=" + nccl;
  o.devices = std::make_shared<Devices>(devices);
  o.device = cards;
  return o;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double relative) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], relative * std::abs(want[i])) << "step " << i + 1;
  }
}

TEST(Cards, TwoTrainOneModelByNccl) {
  const FakeMachine machine(2, kCardBytes);
  const FakeNccl nccl;
  for (const auto& [name, task] :
       {std::pair{"xlmr-ce", TrainTask::kReranker}, {"xlmr-bi-cls-norm", TrainTask::kEmbedder}}) {
    Folder folder;
    const long before = nccl.sums();
    TrainOptions o = cards_run(folder / "cards", name, task, "cuda:0,cuda:1");
    const auto got = losses_of(o);
    // Of each card in each step two: all but the word table, and rows of that.
    EXPECT_EQ(nccl.sums() - before, 2 * 2 * 3);
    o.device = "cpu,cpu";
    o.output_dir = folder / "cpu";
    expect_near(got, losses_of(o), 1e-5);
  }
}

TEST(Cards, WithoutNcclGradientsGoThroughTheHostWhichIsTold) {
  const FakeMachine machine(2, kCardBytes);
  Folder folder;
  const auto by_nccl =
      losses_of(cards_run(folder / "nccl", "xlmr-ce", TrainTask::kReranker, "cuda:0,cuda:1"));
  TrainOptions o = cards_run(folder / "host", "xlmr-ce", TrainTask::kReranker, "cuda:0,cuda:1",
                             "/nowhere/libnccl.so.2");
  std::vector<std::string> said;
  o.log = [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning) said.emplace_back(text);
  };
  expect_near(losses_of(o), by_nccl, 1e-6);
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said[0].find("gradients are added up in the host's memory, which is slower: "), 0u);
  EXPECT_NE(said[0].find("/nowhere/libnccl.so.2"), std::string::npos) << said[0];
}

TEST(Cards, ALibraryThatIsNotNcclIsNamed) {
  const FakeMachine machine(2, kCardBytes);
  Folder folder;
  TrainOptions o = cards_run(folder / "out", "xlmr-ce", TrainTask::kReranker, "cuda:0,cuda:1",
                             TAMIS_FAKE_NOTHING);
  std::string said;
  o.log = [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning && said.empty()) said = text;
  };
  train(o);
  EXPECT_NE(said.find("has no ncclGetUniqueId"), std::string::npos) << said;
}

TEST(Cards, AFailureOfOneEndsTheRunWithIt) {
  const FakeMachine machine(2, kCardBytes);
  Folder folder;
  TrainOptions o = cards_run(folder / "out", "xlmr-ce", TrainTask::kReranker, "cuda:0,cuda:1");
  TrainEvents events;
  events.step = [&](const TrainStep&) {
    machine.fake().break_device(1, 40, cudaErrorIllegalAddress);
  };
  const std::string message = error_of([&] { train(o, events); }, ErrorCode::kUnavailable);
  EXPECT_NE(message, "");
  EXPECT_FALSE(fs::exists(folder / "out"));
  machine.fake().heal(1);
  machine.fake().clear_complaints();
}

TEST(Cards, ProductsIn16BitsHaveTheSpecificationsLosses) {
  const FakeMachine machine(1, kCardBytes);
  for (const bool f16 : {false, true}) {
    Folder folder;
    TrainOptions o = cards_run(folder / "card", "xlmr-ce", TrainTask::kReranker, "cuda:0");
    o.fp16 = f16;
    o.bf16 = !f16;
    const auto got = losses_of(o);
    o.device = "ref";
    o.output_dir = folder / "ref";
    const auto want = losses_of(o);
    o.fp16 = o.bf16 = false;
    o.output_dir = folder / "f32";
    const auto f32 = losses_of(o);
    // Nearer to the specification, which rounds as the card does but for narrow products, than to
    // f32; at most as far as a unit of the format moves a loss.
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], want[i], (f16 ? 0x1p-11 : 0x1p-8) * std::abs(want[i])) << i;
      EXPECT_NE(got[i], f32[i]) << i;
    }
  }
}

}  // namespace
}  // namespace tamis::training
