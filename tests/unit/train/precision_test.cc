// Products in 16 bits, as the specification has them, and the loss scale of f16.

#include <algorithm>
#include <cmath>

#include "train_fixture.h"

namespace tamis::training {
namespace {

std::vector<TrainStep> steps_of(const TrainOptions& options) {
  std::vector<TrainStep> out;
  TrainEvents events;
  events.step = [&](const TrainStep& step) { out.push_back(step); };
  train(options, events);
  return out;
}

TEST(Precision, ProductsIn16BitsTrainAlmostAsF32) {
  Folder folder;
  TrainOptions o = small_run(folder / "f32");
  o.device = "ref";
  const auto f32 = steps_of(o);
  for (const bool f16 : {false, true}) {
    TrainOptions p = o;
    p.output_dir = folder / (f16 ? "f16" : "bf16");
    p.fp16 = f16;
    p.bf16 = !f16;
    const auto steps = steps_of(p);
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_FALSE(steps[i].skipped);
      EXPECT_NEAR(steps[i].loss, f32[i].loss, f16 ? 0.01 : 0.08) << i;
      EXPECT_NE(steps[i].loss, f32[i].loss) << i;
      EXPECT_NEAR(steps[i].gradient_norm / f32[i].gradient_norm, 1, f16 ? 0.02 : 0.15) << i;
    }
  }
}

TEST(Precision, TheLossScaleHalvesUntilF16HoldsTheGradients) {
  Folder folder;
  TrainOptions o = small_run(folder / "whole", "xlmr-bi-cls-norm");
  o.task = TrainTask::kEmbedder;
  o.device = "ref";
  o.fp16 = true;
  o.temperature = 0.001;  // gradients a thousand times as large as vectors
  o.max_steps = 10;
  o.save_steps = 2;
  o.save_total_limit = 10;
  const auto steps = steps_of(o);
  const auto skipped = std::count_if(steps.begin(), steps.end(), [](auto& s) { return s.skipped; });
  EXPECT_GT(skipped, 0);
  EXPECT_LT(skipped, 8);
  EXPECT_TRUE(steps.front().skipped);
  EXPECT_FALSE(steps.back().skipped);
  const std::string state = text_of(folder / "whole/checkpoint-8/trainer_state.json");
  const auto document = io::JsonDocument::parse(state, "state");
  EXPECT_EQ(document.root().at("loss_scale").number("s"),
            std::ldexp(65536, -static_cast<int>(skipped)));
  EXPECT_EQ(document.root().at("updates").integer("u"), 8 - skipped);
  // It is part of what a run goes on from.
  const std::string whole = weights(folder / "whole");
  for (int i = 4; i <= 8; i += 2)
    fs::remove_all(folder / ("whole/checkpoint-" + std::to_string(i)));
  o.resume = true;
  EXPECT_EQ(train(o).first_step, 2);
  EXPECT_EQ(weights(folder / "whole"), whole);
}

TEST(Precision, ADeviceWithoutItGoesOnInF32AndSaysSo) {
  Folder folder;
  TrainOptions o = small_run(folder / "plain");
  o.fp16 = true;
  std::vector<std::string> said;
  o.log = [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning) said.emplace_back(text);
  };
  const auto with = steps_of(o);
  EXPECT_EQ(said, std::vector<std::string>{"cpu trains in f32: goes on without fp16"});
  o.fp16 = false;
  o.output_dir = folder / "without";
  EXPECT_EQ(steps_of(o).back().loss, with.back().loss);
  o.fp16 = o.bf16 = true;
  o.output_dir = folder / "both";
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument).find("one of them"),
            std::string::npos);
}

}  // namespace
}  // namespace tamis::training
