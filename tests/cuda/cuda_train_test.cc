// Fine-tuning on cards: whole runs of tiny models with the CUDA plug-in over the fakes, against the
// same runs on the cpu; what stops them, what they take and what they leave.

#include <cmath>

#include "../unit/train/train_fixture.h"
#include "cuda_fixture.h"
#include "device/device_set.h"
#include "train/network.h"

namespace tamis::training {
namespace {

constexpr size_t kCardBytes = size_t{64} << 20;

void put_on_card(TrainOptions& options, const std::string& plugin = TAMIS_FAKE_CUDA_PLUGIN) {
  DevicesOptions devices;
  devices.nvml_library = "none";
  devices.cuda_plugin = plugin;
  options.devices = std::make_shared<Devices>(devices);
  options.device = "cuda:0";
}

TrainOptions card_run(const fs::path& out, const std::string& name = "xlmr-ce") {
  TrainOptions o = small_run(out, name);
  put_on_card(o);
  o.max_steps = 4;
  return o;
}

/// Every loss within 1e-5 of the cpu's.
void expect_losses_of_the_cpu(TrainOptions options, const fs::path& folder) {
  options.output_dir = folder / "card";
  const auto got = losses_of(options);
  options.device = "cpu";
  options.output_dir = folder / "cpu";
  const auto want = losses_of(options);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-5 * std::abs(want[i])) << "step " << i + 1;
  }
}

struct Run {
  std::string name, checkpointing;
  unsigned seed;
  bool last_warp_first;
  friend void PrintTo(const Run& r, std::ostream* out) {
    *out << r.name << " " << r.checkpointing << " " << r.seed;
  }
};

class CudaTraining : public testing::TestWithParam<Run> {
 protected:
  CudaTraining() {
    machine_.fake().set_seed(GetParam().seed);
    emulation::settings().last_warp_first = GetParam().last_warp_first;
  }
  FakeMachine machine_{1, kCardBytes};
};

// With dropout, as small_run has it.
TEST_P(CudaTraining, OfARerankerHasTheCpusLosses) {
  Folder folder;
  TrainOptions o = card_run({}, GetParam().name);
  o.gradient_checkpointing = GetParam().checkpointing;
  expect_losses_of_the_cpu(o, folder / "");
}

INSTANTIATE_TEST_SUITE_P(Runs, CudaTraining,
                         testing::Values(Run{"xlmr-ce", "none", 1, false},
                                         Run{"xlmr-ce", "1", 2, true},
                                         Run{"xlmr-ce", "attention", 3, false},
                                         Run{"bert-ce", "2", 4, true}));

TEST(CudaTrainingOf, EveryOtherKindHasTheCpusLosses) {
  const FakeMachine machine(1, kCardBytes);
  struct Kind {
    const char* name;
    TrainTask task;
  };
  for (const Kind& k : {Kind{"xlmr-bi-cls-norm", TrainTask::kEmbedder},
                        {"bert-bi-mean-norm", TrainTask::kEmbedder},
                        {"xlmr-m3", TrainTask::kM3},
                        {"xlmr-bi-cls-norm", TrainTask::kReranker}}) {
    Folder folder;
    TrainOptions o = card_run({}, k.name);
    o.task = k.task;
    o.max_steps = 2;
    o.temperature = 0.1;
    expect_losses_of_the_cpu(o, folder / "");
  }
}

TEST(CudaTrainingOf, PartsOfABatchIsThatOfTheWhole) {
  const FakeMachine machine(1, kCardBytes);
  Folder folder;
  TrainOptions o = card_run({});
  o.sub_batch_tokens = 60;
  o.weight_decay = 0.1;
  o.max_steps = 2;
  expect_losses_of_the_cpu(o, folder / "");
}

TEST(CudaTrainingOf, EveryWayOfCheckpointingWritesTheSameFile) {
  Folder folder;
  std::string first;
  for (const char* policy : {"none", "attention", "1", "2"}) {
    const FakeMachine machine(1, kCardBytes);
    TrainOptions o = card_run(folder / policy);
    o.gradient_checkpointing = policy;
    o.max_steps = 2;
    train(o);
    if (first.empty()) first = weights(folder / policy);
    EXPECT_EQ(weights(folder / policy), first) << policy;
  }
}

TEST(CudaTrainingOf, ARunThatResumesWritesTheFileOfOneThatNeverStopped) {
  const FakeMachine machine(1, kCardBytes);
  Folder folder;
  const auto run = [&](const fs::path& out, bool resume, int64_t stop_after) {
    TrainOptions o = card_run(out);
    o.max_steps = 5;
    o.save_steps = 3;
    o.resume = resume;
    std::stop_source stop;
    TrainEvents events;
    events.step = [&](const TrainStep& step) {
      if (step.step == stop_after) stop.request_stop();
    };
    return train(o, events, stop.get_token());
  };
  run(folder / "whole", false, 0);
  EXPECT_TRUE(run(folder / "parts", false, 2).stopped);
  const TrainReport last = run(folder / "parts", true, 0);
  EXPECT_EQ(last.first_step, 2);
  EXPECT_EQ(weights(folder / "parts"), weights(folder / "whole"));
  const fs::path moments = "checkpoint-3/optimizer.safetensors";
  EXPECT_TRUE(same_file(folder / "parts" / moments, folder / "whole" / moments));
}

TEST(CudaTrainingOf, ARunThatTheCpuBeganGoesOnOnACard) {
  const FakeMachine machine(1, kCardBytes);
  Folder folder;
  TrainOptions o = small_run(folder / "cpu");
  o.max_steps = 4;
  const auto want = losses_of(o);
  o.output_dir = folder / "both";
  std::stop_source stop;
  TrainEvents events;
  events.step = [&](const TrainStep& step) {
    if (step.step == 2) stop.request_stop();
  };
  EXPECT_TRUE(train(o, events, stop.get_token()).stopped);
  put_on_card(o);
  o.resume = true;
  const auto rest = losses_of(o);
  ASSERT_EQ(rest.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(rest[i], want[i + 2], 1e-5 * want[i + 2]);
}

/// Parameters of a model on a card, without a trainer.
struct OnCard {
  std::shared_ptr<Device> device = [] {
    DeviceSetOptions set;
    set.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
    return DeviceSet(set).open({"cuda", 0});
  }();
  std::shared_ptr<Stream> stream = device->make_stream({});
  std::shared_ptr<const HostModel> source = HostModel::open(read_spec(model("xlmr-ce"), {}), {});
  std::shared_ptr<MemoryAccount> account = device->open_account("test", MemoryAccount::no_limit);
  Parameters parameters{*source, source->spec, {}, 1, *device, *stream, account};
};

// The emulation would read the host's memory as well: that the numbers are the card's is looked at.
TEST(CudaTrainingRows, OfTheWordTableAreKnownToTheCard) {
  const FakeMachine machine(1, kCardBytes);
  OnCard card;
  Parameters& parameters = card.parameters;
  const Parameter& words = parameters.at(Slot::kWords);
  const auto expect_rows = [&](bool ever, const std::vector<int32_t>& want) {
    const Rows rows = parameters.rows_of(words, ever);
    ASSERT_EQ(rows.count, static_cast<int64_t>(want.size()));
    EXPECT_EQ(rows.width, 32);
    ASSERT_TRUE(card.device->owns(rows.ids, want.size() * sizeof(int32_t)));
    std::vector<int32_t> got(want.size());
    card.stream->download(got.data(), rows.ids, got.size() * sizeof(int32_t));
    card.stream->synchronize(std::chrono::seconds(5));
    EXPECT_EQ(got, want);
  };
  parameters.touch(std::vector<int32_t>{5, 3, 5});
  expect_rows(false, {3, 5});
  parameters.touch(std::vector<int32_t>{260, 3});
  expect_rows(false, {3, 5, 260});
  parameters.zero_gradients(*card.stream->train_ops());
  expect_rows(false, {});
  parameters.touch(std::vector<int32_t>{4});
  expect_rows(false, {4});
  expect_rows(true, {3, 4, 5, 260});
}

TEST(CudaTrainingMemory, IsPlannedWithAllOfTheWordTable) {
  const FakeMachine machine(1, kCardBytes);
  Folder folder;
  TrainOptions o = card_run(folder / "out");
  o.max_steps = 3;  // one epoch, all of which the plan has seen
  TrainPlan plan;
  size_t most = 0;
  TrainEvents events;
  events.planned = [&](const TrainPlan& p) { plan = p; };
  events.step = [&](const TrainStep&) {
    most = std::max(most, machine.fake().live().allocated_bytes);
  };
  train(o, events);
  EXPECT_EQ(plan.state_bytes, 12 * static_cast<size_t>(plan.trained_parameters));
  EXPECT_LE(most, plan.peak_bytes);
  EXPECT_GT(most, plan.peak_bytes - plan.activation_bytes / 4) << "planned for the longest batch";
}

TEST(CudaTrainingMemory, OfASmallCardChoosesCheckpointingOrSaysWhatIsTheLeast) {
  Folder folder;
  TrainPlan plan;
  TrainEvents events;
  events.planned = [&](const TrainPlan& p) { plan = p; };
  TrainOptions o = card_run(folder / "large");
  o.max_steps = 1;
  {
    const FakeMachine machine(1, kCardBytes);
    train(o, events);
    EXPECT_EQ(plan.gradient_checkpointing, "none");
  }
  const size_t enough = plan.peak_bytes;
  {
    const FakeMachine machine(1, enough - plan.activation_bytes / 64);
    o = card_run(folder / "small");
    o.max_steps = 1;
    train(o, events);
    EXPECT_NE(plan.gradient_checkpointing, "none");
    EXPECT_LT(plan.peak_bytes, enough);
  }
  const FakeMachine machine(1, size_t{2} << 20);
  o = card_run(folder / "smallest");
  const std::string message = error_of([&] { train(o); }, ErrorCode::kResourceExhausted);
  EXPECT_NE(message.find("cuda:0"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(folder / "smallest"));
}

TEST(CudaTrainingMemory, ThatRunsOutAtAnyAllocationEndsCleanlyOrInSmallerParts) {
  Folder folder;
  int failed = 0, passed = 0;
  for (int n = 1; passed == 0 || failed == 0; ++n) {
    ASSERT_LT(n, 60);
    const FakeMachine machine(1, kCardBytes);
    machine.fail_allocation(n);
    TrainOptions o = card_run(folder / std::to_string(n));
    o.max_steps = 1;
    try {
      train(o);
      passed += machine.counts().allocation_attempts < n;  // the n-th never came
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted) << error.what();
      EXPECT_FALSE(fs::exists(o.output_dir)) << "nothing half-written stays";
      ++failed;
    }
    machine.expect_nothing_left("after allocation " + std::to_string(n));
  }
  EXPECT_GE(failed, 3);
}

TEST(CudaTrainingFailure, OfTheCardEndsTheRunWithItsName) {
  Folder folder;
  for (const long command : {1L, 60L, 700L}) {
    const FakeMachine machine(1, kCardBytes);
    machine.fake().break_device(0, command, cudaErrorIllegalAddress);
    TrainOptions o = card_run(folder / std::to_string(command));
    const std::string message = error_of([&] { train(o); }, ErrorCode::kUnavailable);
    EXPECT_NE(message.find("cuda:0"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(o.output_dir));
  }
}

// A part of a batch that there is no memory for is halved and runs again, but not when some of its
// gradients are added already.
TEST(CudaTrainingFailure, OfMemoryInTheMiddleOfABackwardPassIsAnotherError) {
  const FakeMachine machine(1, kCardBytes);
  OnCard card;
  Network network(card.source->spec, card.parameters, card.device, card.stream, card.account, {});
  TrainBatch batch;
  const std::vector<int32_t> ids = {0, 5, 6, 2};
  const std::vector<SequenceView> sequences(2, SequenceView{ids, {}});
  batch.packed = pack(sequences, longest_first(sequences), card.source->spec.positions);
  batch.numbers = {0, 1};
  NetworkOutput d;
  d.vectors = network.forward(batch, true).vectors;
  machine.fake().break_device(0, 40, cudaErrorMemoryAllocation);
  const std::string message = error_of([&] { network.backward(d); }, ErrorCode::kUnavailable);
  EXPECT_NE(message.find("in the middle of a backward pass"), std::string::npos) << message;
}

TEST(CudaTrainingFailure, OfALossThatIsNotFiniteNamesTheStep) {
  const FakeMachine machine(1, kCardBytes);
  Folder folder;
  TrainOptions o = card_run(folder / "out");
  o.learning_rate = 1e30;
  o.max_grad_norm = 0;
  o.lr_scheduler_type = "constant";
  const std::string message = error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("step 2"), std::string::npos) << message;
}

TEST(CudaTrainingOf, TheOtherCardLeavesTheFirstAlone) {
  const FakeMachine machine(2, kCardBytes);
  Folder folder;
  TrainOptions o = card_run(folder / "out");
  o.device = "cuda:1";
  o.max_steps = 1;
  train(o);
  EXPECT_EQ(machine.counts().commands[0], 0);
  EXPECT_GT(machine.counts().commands[1], 100);
}

TEST(CudaTrainingOf, ACardThatIsNotThereIsAnErrorThatSaysSo) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  put_on_card(o, TAMIS_CUDA_PLUGIN);  // with NVIDIA's own libraries
  try {
    train(o);
    GTEST_SKIP() << "this machine has a card";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_NE(std::string(error.what()).find("driver"), std::string::npos) << error.what();
  }
  put_on_card(o, "/nowhere/libtamis_cuda.so");
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kUnimplemented), "");
}

}  // namespace
}  // namespace tamis::training
