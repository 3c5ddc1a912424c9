// Whole runs: what they write, what stops and resumes them, what they refuse.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "../base/fake_root.h"
#include "device/device_set.h"
#include "tamis/embedder.h"
#include "tamis/reranker.h"
#include "train/trainer.h"
#include "train_fixture.h"

namespace tamis::training {
namespace {

std::vector<RerankResult> ranked(const Reranker& reranker) {
  const std::vector<std::string_view> passages = {"a sieve", "the sky"};
  return reranker.rerank("a tamis", passages);
}

TEST(Train, TwoRunsWriteTheSameFileWithAnyNumberOfThreads) {
  Folder folder;
  std::string first;
  for (const int threads : {1, 1, 3}) {
    const fs::path out = folder / std::to_string(threads);
    fs::remove_all(out);
    TrainOptions o = small_run(out);
    o.threads = threads;
    train(o);
    if (first.empty()) first = weights(out);
    EXPECT_EQ(weights(out), first) << threads;
  }
  TrainOptions o = small_run(folder / "other");
  o.seed = 43;
  train(o);
  EXPECT_NE(weights(folder / "other"), first);
}

TEST(Train, LossFalls) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.max_steps = 60;
  o.learning_rate = 3e-3;
  o.dropout = false;
  const auto losses = losses_of(o);
  double first = 0, last = 0;
  for (size_t i = 0; i < 10; ++i) first += losses[i], last += losses[losses.size() - 1 - i];
  EXPECT_LT(last, 0.6 * first);
}

TEST(Train, WhatItWritesIsAModelAtOnce) {
  Folder folder;
  const fs::path out = folder / "out";
  train(small_run(out));
  const Reranker before = Reranker::load(model("xlmr-ce")), after = Reranker::load(out);
  const auto old_scores = ranked(before);
  const auto scores = ranked(after);
  EXPECT_NE(scores[0].logit, old_scores[0].logit);
  EXPECT_EQ(text_of(out / "tokenizer.json"), text_of(model("xlmr-ce") / "tokenizer.json"));
  EXPECT_NE(text_of(out / "config.json").find("\"torch_dtype\": \"float32\""), std::string::npos);
  EXPECT_FALSE(fs::exists(out / "checkpoint-8"));
  // No times and no arguments in the header: two machines write the same file.
  const std::string file = weights(out);
  EXPECT_NE(file.find("\"__metadata__\":{\"format\":\"pt\"}"), std::string::npos);
}

TEST(Train, AnEmbedderStaysOne) {
  Folder folder;
  for (const char* name : {"xlmr-bi-cls-norm", "bert-bi-mean-norm", "xlmr-bi-lasttoken-norm"}) {
    const fs::path out = folder / name;
    TrainOptions o = small_run(out, name);
    o.task = TrainTask::kEmbedder;
    train(o);
    const Embedder embedder = Embedder::load(out);
    EXPECT_EQ(embedder.info().pooling, Embedder::load(model(name)).info().pooling);
  }
}

TEST(Train, M3HasItsThreeOutputsAndItsHeadsWhereFlagEmbeddingLooksForThem) {
  Folder folder;
  // From BGE-M3's own form, and from an encoder without heads.
  for (const char* name : {"xlmr-m3", "xlmr-bi-cls-norm"}) {
    const fs::path out = folder / name;
    TrainOptions o = small_run(out, name);
    o.task = TrainTask::kM3;
    o.use_self_distill = true;
    o.self_distill_start_step = 3;
    o.save_steps = 4;
    train(o);
    EXPECT_TRUE(fs::exists(out / "sparse_linear.pt"));
    EXPECT_TRUE(fs::exists(out / "colbert_linear.pt"));
    EXPECT_EQ(io::Checkpoint::open(out).find("sparse_linear.weight"), nullptr);
    const Embedder embedder = Embedder::load(out);
    EXPECT_TRUE(embedder.info().sparse);
    EXPECT_EQ(embedder.info().colbert_dimension, 32);
    // The checkpoint has them as well.
    const std::string whole = weights(out), heads = text_of(out / "colbert_linear.pt");
    fs::remove(out / "model.safetensors");
    o.resume = true;
    EXPECT_EQ(train(o).first_step, 4);
    EXPECT_EQ(weights(out), whole);
    EXPECT_EQ(text_of(out / "colbert_linear.pt"), heads);
  }
  TrainOptions o = small_run(folder / "fixed", "xlmr-m3");
  o.task = TrainTask::kM3;
  o.fix_encoder = true;
  train(o);
  const auto before = io::Checkpoint::open(model("xlmr-m3")),
             after = io::Checkpoint::open(folder / "fixed");
  for (const TensorView& tensor : after.tensors()) {
    std::vector<float> was(static_cast<size_t>(element_count(tensor.shape)));
    const TensorView* old = before.find(tensor.name);
    convert_to_f32(old->dtype, old->bytes.data(), was.data(), was.size());
    EXPECT_EQ(std::memcmp(was.data(), tensor.bytes.data(), tensor.bytes.size()), 0) << tensor.name;
  }
}

TEST(Train, ABareEncoderBecomesAReranker) {
  Folder folder;
  for (const char* name : {"xlmr-bi-cls-norm", "bert-bi-mean-norm"}) {
    const fs::path out = folder / name;
    train(small_run(out, name));
    const Reranker reranker = Reranker::load(out);
    EXPECT_EQ(reranker.info().kind, ModelKind::kCrossEncoder);
    EXPECT_EQ(ranked(reranker).size(), 2u);
    EXPECT_FALSE(fs::exists(out / "modules.json"));
  }
}

/// A step of learning rate 0: what is written is what training began with.
TrainOptions first_state(const fs::path& out, const std::string& name) {
  TrainOptions o = small_run(out, name);
  o.max_steps = 1;
  o.warmup_steps = 5;
  return o;
}

TEST(Train, ABertsPoolerBecomesTheFirstLayerOfItsHead) {
  Folder folder;
  train(first_state(folder / "out", "bert-bi-mean-norm"));
  const auto before = io::Checkpoint::open(model("bert-bi-mean-norm"));
  const auto after = io::Checkpoint::open(folder / "out");
  for (const std::string name : {"pooler.dense.weight", "pooler.dense.bias"}) {
    const TensorView *old = before.find(name), *now = after.find("bert." + name);
    ASSERT_NE(now, nullptr);
    EXPECT_TRUE(
        std::equal(now->bytes.begin(), now->bytes.end(), old->bytes.begin(), old->bytes.end()));
  }
}

TEST(Train, HeadsThatNoLossSeesDoNotDecay) {
  Folder folder;
  TrainOptions o = small_run(folder / "out", "xlmr-m3");
  o.task = TrainTask::kEmbedder;
  o.weight_decay = 0.5;
  train(o);
  const auto head = io::Checkpoint::open_file(folder / "out/colbert_linear.pt");
  const auto was = io::Checkpoint::open_file(model("xlmr-m3") / "colbert_linear.pt");
  const TensorView *now = head.find("weight"), *old = was.find("weight");
  std::vector<float> a(static_cast<size_t>(element_count(now->shape))), b(a.size());
  convert_to_f32(now->dtype, now->bytes.data(), a.data(), a.size());
  convert_to_f32(old->dtype, old->bytes.data(), b.data(), b.size());
  EXPECT_EQ(a, b);
}

TEST(Train, AnotherRunIsNotContinued) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.save_steps = 4;
  train(o);
  o.resume = true;
  const std::vector<std::function<void(TrainOptions&)>> changes = {
      [](auto& p) { p.seed = 1; },
      [](auto& p) { p.weight_decay = 0.1; },
      [](auto& p) { p.max_grad_norm = 2; },
      [](auto& p) { p.freeze_layers = 1; },
      [](auto& p) { p.dropout = false; },
      [](auto& p) { p.query_instruction = "q"; },
      [](auto& p) { p.dataloader_drop_last = true; },
      [](auto& p) { p.use_lora = true; }};
  for (const auto& change : changes) {
    TrainOptions other = o;
    change(other);
    EXPECT_NE(error_of([&] { train(other); }, ErrorCode::kInvalidArgument).find("was another one"),
              std::string::npos);
  }
}

TEST(Train, ResumedIsUninterruptedBitForBit) {
  Folder folder;
  for (const bool embedder : {false, true}) {
    const std::string name = embedder ? "xlmr-bi-cls-norm" : "xlmr-ce";
    const auto run = [&](const fs::path& out, bool resume, int64_t stop_after) {
      TrainOptions o = small_run(out, name);
      o.task = embedder ? TrainTask::kEmbedder : TrainTask::kReranker;
      o.save_steps = 3;
      o.warmup_steps = 2;
      o.weight_decay = embedder ? 0.1 : 0;
      o.resume = resume;
      std::stop_source stop;
      TrainEvents events;
      events.step = [&](const TrainStep& step) {
        if (step.step == stop_after) stop.request_stop();
      };
      return train(o, events, stop.get_token());
    };
    run(folder / ("whole" + name), false, 0);
    const fs::path parts = folder / ("parts" + name);
    EXPECT_TRUE(run(parts, false, 2).stopped);
    EXPECT_FALSE(fs::exists(parts / "model.safetensors"));
    EXPECT_TRUE(run(parts, true, 5).stopped);
    const TrainReport last = run(parts, true, 0);
    EXPECT_EQ(last.first_step, 5);
    EXPECT_FALSE(last.stopped);
    EXPECT_EQ(weights(parts), weights(folder / ("whole" + name)));
    // A line a step, each once, and the losses of the uninterrupted run.
    const auto losses = [](const fs::path& out) {
      std::vector<double> found;
      std::ifstream in(out / "metrics.jsonl");
      for (std::string line; std::getline(in, line);) {
        const auto document = io::JsonDocument::parse(line, "metrics");
        EXPECT_EQ(document.root().at("step").integer("step"),
                  static_cast<int64_t>(found.size()) + 1);
        found.push_back(document.root().at("loss").number("loss"));
      }
      return found;
    };
    EXPECT_EQ(losses(parts), losses(folder / ("whole" + name)));
  }
}

TEST(Train, WhatATrainedModelWasTrainedFromIsNotCopied) {
  Folder folder;
  TrainOptions o = small_run(folder / "first");
  o.save_steps = 4;
  train(o);
  ASSERT_TRUE(fs::exists(folder / "first/checkpoint-4"));
  o.model_name_or_path = folder / "first";
  o.output_dir = folder / "second";
  o.max_steps = 3;
  o.save_steps = 0;
  const TrainReport report = train(o);
  EXPECT_FALSE(fs::exists(folder / "second/checkpoint-4"));
  EXPECT_EQ(report.losses.size(), 3u);
  const std::string lines = text_of(folder / "second/metrics.jsonl");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 3);
  EXPECT_NE(text_of(folder / "second/training.svg").find("loss over 3 steps"), std::string::npos);
}

TEST(Train, ANewRunInAnOldDirectoryBeginsWithoutItsCheckpointsAndAdapters) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.save_steps = 3;
  o.use_lora = true;
  o.lora_rank = 2;
  train(o);
  ASSERT_TRUE(fs::exists(folder / "out/checkpoint-6"));
  ASSERT_TRUE(fs::exists(folder / "out/lora"));
  o.use_lora = false;
  o.overwrite_output_dir = true;
  o.save_steps = 2;
  o.save_total_limit = 1;
  o.max_steps = 3;
  train(o);
  EXPECT_TRUE(fs::exists(folder / "out/checkpoint-2/trainer_state.json"));
  EXPECT_FALSE(fs::exists(folder / "out/checkpoint-3"));
  EXPECT_FALSE(fs::exists(folder / "out/checkpoint-6"));
  EXPECT_FALSE(fs::exists(folder / "out/lora"));
}

TEST(Train, AdaptersOfTheModelThatARunBeginsWithAreNotCopied) {
  Folder folder;
  TrainOptions o = small_run(folder / "first");
  o.use_lora = true;
  o.lora_rank = 2;
  train(o);
  o.model_name_or_path = folder / "first";
  o.output_dir = folder / "second";
  o.use_lora = false;
  train(o);
  EXPECT_FALSE(fs::exists(folder / "second/lora"));
}

TEST(Train, OnlyTheNewestCheckpointsStay) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.save_steps = 1;
  o.save_total_limit = 2;
  std::vector<std::string> saved;
  TrainEvents events;
  events.saved = [&](const fs::path& path) { saved.push_back(path.filename().string()); };
  train(o, events);
  EXPECT_EQ(saved.size(), 8u) << "after 7 of 8 steps, and the model";
  EXPECT_FALSE(fs::exists(folder / "out/checkpoint-5"));
  EXPECT_TRUE(fs::exists(folder / "out/checkpoint-6"));
  EXPECT_TRUE(fs::exists(folder / "out/checkpoint-7"));
  EXPECT_NO_THROW(Reranker::load(folder / "out/checkpoint-7")) << "a checkpoint is a model";
}

TEST(Train, ADamagedOrAnotherRunsCheckpointIsRefused) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.save_steps = 4;
  train(o);
  o.resume = true;
  o.learning_rate = 2e-3;
  const std::string other = error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(other.find("learning rate 0.001"), std::string::npos) << other;
  EXPECT_NE(other.find("learning rate 0.002"), std::string::npos) << other;
  o.learning_rate = 1e-3;
  const fs::path optimizer = folder / "out/checkpoint-4/optimizer.safetensors";
  fs::resize_file(optimizer, fs::file_size(optimizer) - 8);
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kDataLoss), "");
  fs::remove_all(folder / "out/checkpoint-4");
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kNotFound).find("no checkpoint"),
            std::string::npos);
}

TEST(Train, SubBatchesGiveTheSameRun) {
  Folder folder;
  for (const bool embedder : {false, true}) {
    const std::string name = embedder ? "bert-bi-mean-norm" : "bert-ce";
    TrainOptions o = small_run(folder / ("a" + name), name);
    o.task = embedder ? TrainTask::kEmbedder : TrainTask::kReranker;
    const auto whole = losses_of(o);
    o.output_dir = folder / ("b" + name);
    o.sub_batch_tokens = 60;  // a few of a step's some 250 tokens
    const auto parts = losses_of(o);
    for (size_t i = 0; i < whole.size(); ++i)
      EXPECT_NEAR(parts[i], whole[i], 2e-5) << name << " step " << i;
  }
}

TEST(Train, AccumulatedBatchesAreOneLargeBatchOfARerankersGroups) {
  Folder folder;
  TrainOptions o = small_run(folder / "a");
  o.dropout = false;
  o.per_device_train_batch_size = 6;
  o.max_steps = 5;
  const auto whole = losses_of(o);
  o.output_dir = folder / "b";
  o.per_device_train_batch_size = 2;
  o.gradient_accumulation_steps = 3;
  const auto parts = losses_of(o);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(parts[i], whole[i], 2e-5) << i;
}

TEST(Train, WhatIsFrozenStays) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.freeze_layers = 1;
  o.weight_decay = 0.1;
  TrainPlan plan;
  TrainEvents events;
  events.planned = [&](const TrainPlan& p) { plan = p; };
  train(o, events);
  EXPECT_LT(plan.trained_parameters, plan.parameters);
  const auto before = io::Checkpoint::open(model("xlmr-ce")),
             after = io::Checkpoint::open(folder / "out");
  size_t same = 0, changed = 0;
  for (const TensorView& tensor : after.tensors()) {
    const TensorView* old = before.find(tensor.name);
    ASSERT_NE(old, nullptr) << tensor.name;
    const bool equal =
        std::equal(tensor.bytes.begin(), tensor.bytes.end(), old->bytes.begin(), old->bytes.end());
    const bool frozen = tensor.name.find("embeddings") != std::string::npos ||
                        tensor.name.find("layer.0.") != std::string::npos;
    EXPECT_EQ(equal, frozen) << tensor.name;
    (frozen ? same : changed) += 1;
  }
  EXPECT_GT(same, 15u);
  EXPECT_GT(changed, 15u);
  o.output_dir = folder / "all";
  o.freeze_layers = 3;
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument).find("has 2 layers"),
            std::string::npos);
}

TEST(Train, ALossThatIsNotFiniteEndsTheRunOrLeavesTheStepOut) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.learning_rate = 1e30;
  o.max_grad_norm = 0;
  o.lr_scheduler_type = "constant";
  const std::string message = error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("step 2"), std::string::npos) << message;
  EXPECT_NE(message.find(", first in the embeddings; try a lower learning_rate"), std::string::npos)
      << message;
  EXPECT_FALSE(fs::exists(folder / "out")) << "nothing half-written stays";
  o.skip_not_finite = true;
  size_t skipped = 0;
  TrainEvents events;
  events.step = [&](const TrainStep& step) { skipped += step.skipped ? 1 : 0; };
  train(o, events);
  EXPECT_EQ(skipped, 7u);
}

/// A run in a process that has 100 MB by itself, whatever this one has.
TrainPlan plan_of(const TrainOptions& o) {
  const FakeRoot root;
  root.write("/proc/self/status", "RssAnon:\t  100000 kB\n");
  const HostProbe host(root.path());
  DeviceSet devices({});
  TrainerParts parts;
  parts.source = HostModel::open(read_spec(o.model_name_or_path, {}), {});
  parts.spec = training_spec(parts.source->spec, o);
  parts.tokenizer = text::Tokenizer::load(o.model_name_or_path);
  parts.device = devices.open(parse_device_name("cpu"));
  parts.host = &host;
  TrainPlan plan;
  TrainEvents events;
  events.planned = [&](const TrainPlan& p) { plan = p; };
  Trainer(parts, o).run(events, {});
  return plan;
}

TEST(Train, MemoryLimitChoosesCheckpointingThenSmallerParts) {
  Folder folder;
  TrainOptions o = small_run(folder / "a");
  o.threads = 2;  // each has scratch of its own, much of what so small a model takes
  const TrainPlan free_plan = plan_of(o);
  EXPECT_EQ(free_plan.gradient_checkpointing, "none");
  EXPECT_EQ(free_plan.peak_bytes,
            100'000u * 1024 + free_plan.state_bytes + free_plan.activation_bytes);
  // Less and less: attention again, then layers, then fewer tokens at a time.
  std::vector<std::string> chosen;
  size_t tokens = free_plan.sub_batch_tokens;
  for (const size_t eighths : {1, 2, 3}) {
    o.output_dir = folder / std::to_string(eighths);
    o.memory_limit_bytes = free_plan.peak_bytes - free_plan.activation_bytes / 8 * eighths;
    const TrainPlan plan = plan_of(o);
    EXPECT_LE(plan.peak_bytes, *o.memory_limit_bytes);
    EXPECT_LE(plan.sub_batch_tokens, tokens);
    tokens = plan.sub_batch_tokens;
    chosen.push_back(plan.gradient_checkpointing);
  }
  EXPECT_NE(chosen.front(), "none");
  EXPECT_EQ(chosen.back(), "1");
  EXPECT_LT(tokens, free_plan.sub_batch_tokens);
}

TEST(Train, LayersThatDoNotLearnKeepNothing) {
  Folder folder;
  TrainOptions o = small_run(folder / "a");
  const TrainPlan all = plan_of(o);
  o.freeze_layers = 2;  // of two: the head alone learns
  o.output_dir = folder / "b";
  const TrainPlan head = plan_of(o);
  const size_t record = all.sub_batch_tokens * (3 * 32 + 32 + 2 * 32 + 56 + 4) * sizeof(float);
  EXPECT_GE(all.activation_bytes - head.activation_bytes, record);
  EXPECT_LT(head.state_bytes, all.state_bytes / 10);
}

TEST(Train, AMemoryLimitThatIsTooSmallSaysWhatTheLeastIs) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.memory_limit_bytes = 1000;
  const std::string message = error_of([&] { train(o); }, ErrorCode::kResourceExhausted);
  EXPECT_NE(message.find("the least that this run takes is"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(Train, ADiskThatCannotHoldTheRunIsToldBeforeTheFirstStep) {
  const DiskNeed need = {.model = 100'000'000, .checkpoint = 250'000'000, .checkpoints = 3};
  std::string warning;
  const LogSink log = [&](LogLevel, std::string_view text) { warning = text; };
  const std::string error =
      error_of([&] { check_disk(need, 349'999'999, "out", log); }, ErrorCode::kResourceExhausted);
  EXPECT_EQ(
      error,
      "out: 350 MB are free; the model takes 100 MB, 3 checkpoints at a time 250 MB each: make "
      "room, or choose another output_dir; save_steps 0 writes no checkpoints");
  EXPECT_EQ(warning, "");
  check_disk(need, 849'999'999, "out", log);
  EXPECT_NE(warning.find("the disk may become full"), std::string::npos) << warning;
  warning.clear();
  check_disk(need, 850'000'000, "out", log);
  check_disk({.model = 100, .checkpoint = 1000, .checkpoints = 0}, 100, "out", log);
  EXPECT_EQ(warning, "");
}

TEST(Train, OutputIsNotWrittenOver) {
  Folder folder;
  folder.write("there", "");
  TrainOptions o = small_run(folder / "");
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument).find("is not empty"),
            std::string::npos);
  o.output_dir = "";
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument).find("output_dir"),
            std::string::npos);
}

TEST(Train, ADataErrorLeavesNothing) {
  Folder folder;
  TrainOptions o = small_run(folder / "out");
  o.train_data = {folder.write("d.jsonl", "{\"query\": \"q\", \"pos\": [\"p\"], \"neg\": 3}\n")};
  const std::string message = error_of([&] { train(o); }, ErrorCode::kDataLoss);
  EXPECT_NE(message.find("d.jsonl line 1: neg: expected an array, got an integer"),
            std::string::npos)
      << message;
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(Train, BadOptionsAreNamed) {
  Folder folder;
  struct Bad {
    std::function<void(TrainOptions&)> change;
    const char* message;
  };
  for (const Bad& bad :
       {Bad{[](auto& o) { o.learning_rate = 0; }, "learning_rate"},
        {[](auto& o) { o.per_device_train_batch_size = 0; }, "per_device_train_batch_size"},
        {[](auto& o) { o.lr_scheduler_type = "polynomial"; }, "lr_scheduler_type"},
        {[](auto& o) { o.gradient_checkpointing = "all"; }, "gradient checkpointing"},
        {[](auto& o) { o.max_steps = 0, o.num_train_epochs = 0; }, "num_train_epochs"},
        {[](auto& o) { o.logging_steps = 0; }, "logging_steps"},
        {[](auto& o) { o.task = TrainTask::kEmbedder; }, "is a cross-encoder"},
        {[](auto& o) { o.dataloader_drop_last = true, o.per_device_train_batch_size = 7; },
         "dataloader_drop_last"}}) {
    TrainOptions o = small_run(folder / "out");
    bad.change(o);
    const std::string message = error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find(bad.message), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "out"));
  }
  TrainOptions o = small_run(folder / "out");
  o.device = "sim";
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kUnimplemented).find("does not train"),
            std::string::npos);
}

}  // namespace
}  // namespace tamis::training
