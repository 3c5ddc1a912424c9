// Gradients and whole runs against torch (tools/golden/make_train_goldens.py), and what must not
// change them: checkpointing, sub-batches, threads.

#include <cmath>
#include <utility>

#include "train_bench.h"

namespace tamis::training {
namespace {

/// Gradients of the whole batch, in one pass or in several.
std::vector<float> gradients_of(const TrainOptions& options, const CheckpointPolicy& policy,
                                bool dropout, int threads, size_t step = 0,
                                const std::string& isa = "") {
  Bench bench(options, "cpu", threads, policy, dropout, isa);
  const size_t n = bench.size();
  if (step == 0) step = n;
  const std::vector<float> d = some_gradients(n * static_cast<size_t>(bench.network().outputs()));
  const auto width = static_cast<size_t>(bench.network().outputs());
  for (size_t begin = 0; begin < n; begin += step) {
    const size_t end = std::min(n, begin + step);
    bench.network().forward(bench.batch(begin, end), true);
    NetworkOutput part;
    part.vectors.assign(d.begin() + static_cast<std::ptrdiff_t>(begin * width),
                        d.begin() + static_cast<std::ptrdiff_t>(end * width));
    bench.network().backward(part);
  }
  return bench.gradients();
}

const CheckpointPolicy kPolicies[] = {{Recompute::kAttention, 1},
                                      {Recompute::kLayers, 1},
                                      {Recompute::kLayers, 2},
                                      {Recompute::kLayers, 5}};

TEST(Checkpointing, GradientsAreTheSameBits) {
  const Goldens goldens;
  for (const char* name : {"xlmr-ce", "bert-ce", "bert-mean", "xlmr-cls"}) {
    const TrainOptions options = options_of(goldens, name);
    for (const bool dropout : {false, true}) {
      const auto plain = gradients_of(options, {}, dropout, 1);
      for (const CheckpointPolicy& policy : kPolicies) {
        EXPECT_EQ(gradients_of(options, policy, dropout, 1), plain)
            << name << " " << to_string(policy) << " dropout " << dropout;
      }
    }
  }
}

TEST(Gradients, AreTheSameBitsForAnyNumberOfThreads) {
  const TrainOptions options = options_of(Goldens(), "xlmr-ce");
  const auto one = gradients_of(options, {}, true, 1);
  for (const int threads : {2, 5})
    EXPECT_EQ(gradients_of(options, {}, true, threads), one) << threads;
}

TEST(Gradients, OfPartsAreThoseOfTheWholeAlsoWithDropout) {
  const TrainOptions options = options_of(Goldens(), "xlmr-ce");
  const auto whole = gradients_of(options, {}, true, 2);
  for (const size_t step : {1, 5, 13}) {
    EXPECT_LT(largest_difference(gradients_of(options, {}, true, 2, step), whole), 2e-6) << step;
  }
}

TEST(Gradients, AgreeOnEveryInstructionSet) {
  const TrainOptions options = options_of(Goldens(), "bert-ce");
  const auto best = gradients_of(options, {}, false, 2);
  for (const std::string& isa : supported_isas()) {
    EXPECT_LT(largest_difference(gradients_of(options, {}, false, 2, 0, isa), best), 3e-6) << isa;
  }
}

TEST(Network, NamesTheLayerWhereNumbersFirstWereNotFinite) {
  const TrainOptions options = options_of(Goldens(), "xlmr-ce");
  Bench bench(options, "cpu", 1, {}, false);
  const auto pass = [&] {
    bench.network().watch(true);
    const auto out = bench.network().forward(bench.batch(0, bench.size()), true);
    NetworkOutput d;
    d.vectors = some_gradients(out.vectors.size());
    bench.network().backward(d);
    return bench.network().first_not_finite();
  };
  EXPECT_EQ(pass(), "");
  const auto break_at = [&](Slot slot, int64_t layer, float value) {
    float& place = bench.parameters().at(slot, layer).value[3];
    const float was = std::exchange(place, value);
    const std::string found = pass();
    place = was;
    return found;
  };
  EXPECT_EQ(break_at(Slot::kUpBias, 1, INFINITY), "layer 1");
  EXPECT_EQ(break_at(Slot::kEmbeddingGamma, 0, NAN), "the embeddings");
  EXPECT_EQ(break_at(Slot::kHeadOutWeight, 0, INFINITY), "the head");
  EXPECT_EQ(pass(), "") << "and nothing of that is left";
}

/// |got - want| against the largest number of the tensor.
double relative_error(const float* got, const TensorView& want) {
  const auto n = static_cast<size_t>(element_count(want.shape));
  std::vector<float> values(n);
  convert_to_f32(want.dtype, want.bytes.data(), values.data(), n);
  return largest_difference(std::vector<float>(got, got + n), values);
}

class TorchGradients : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

/// The loss that these options ask for, and its gradients.
double loss_of(const TrainOptions& options, const Bench& bench, const NetworkOutput& out,
               NetworkOutput& d) {
  const Sequences& s = bench.sequences();
  const auto group = static_cast<int64_t>(s.group_size);
  d.vectors.resize(out.vectors.size());
  if (options.task == TrainTask::kReranker) {
    return group_loss({out.vectors, s.teacher, group}, 1.0 / static_cast<double>(s.groups),
                      d.vectors);
  }
  const size_t width = out.vectors.size() / s.encodings.size();
  ContrastiveOptions how;
  how.temperature = options.temperature;
  how.in_batch_negatives = !options.no_in_batch_neg;
  how.dimensions = options.mrl_dims;
  if (options.knowledge_distillation) {
    how.distillation = options.kd_loss_type == "kl_div" ? Distillation::kKlDiv : Distillation::kM3;
  }
  if (options.task == TrainTask::kM3) {
    const TrainBatch all = bench.batch(0, bench.size());
    const std::vector<int32_t> special = bench.special_ids();
    UnifiedBatch batch{out.vectors,
                       out.token_weights,
                       out.token_vectors,
                       all.packed.ids,
                       all.packed.cu_seqlens,
                       special,
                       {}};
    batch.queries = static_cast<int64_t>(s.groups);
    batch.group = group;
    batch.dimension = static_cast<int64_t>(width);
    batch.token_dimension =
        static_cast<int64_t>(out.token_vectors.size() / out.token_weights.size());
    UnifiedGradients gradients;
    const double loss = unified_loss(batch, how, options.use_self_distill, gradients);
    d = {gradients.vectors, gradients.token_weights, gradients.token_vectors};
    return loss;
  }
  const std::span<const float> all(out.vectors);
  const size_t queries = s.groups * width;
  return contrastive_loss(
      {all.first(queries), all.subspan(queries), s.teacher, static_cast<int64_t>(width), group},
      how, std::span(d.vectors).first(queries), std::span(d.vectors).subspan(queries));
}

TEST(Losses, OfTheFirstStepAreTorchs) {
  const Goldens goldens;
  for (const std::string& name : goldens.names()) {
    const TrainOptions options = options_of(goldens, name);
    Bench bench(options, "cpu", 1, {}, false);
    NetworkOutput d;
    const NetworkOutput outputs = bench.network().forward(bench.batch(0, bench.size()), false);
    EXPECT_NEAR(loss_of(options, bench, outputs, d), goldens.find(name).at("loss").number("loss"),
                3e-6)
        << name;
  }
}

TEST_P(TorchGradients, AgreeForEveryParameter) {
  const auto& [name, device] = GetParam();
  const TrainOptions options = options_of(Goldens(), name);
  Bench bench(options, device, device == "ref" ? 1 : 2, {}, false);
  const NetworkOutput outputs = bench.network().forward(bench.batch(0, bench.size()), true);
  NetworkOutput d;
  loss_of(options, bench, outputs, d);
  bench.network().backward(d);
  const auto torch =
      io::Checkpoint::open_file(source("tests/fixtures/train") / (name + ".safetensors"));
  size_t compared = 0;
  for (const Parameter& p : bench.parameters().all()) {
    const TensorView* want = torch.find(p.name);
    if (want == nullptr) continue;
    // Keys' biases, and what is added to all scores of a group, have no gradient, for softmax does
    // not see them: what both have there is rounding.
    if (p.slot == Slot::kKeyBias || p.slot == Slot::kHeadOutBias) {
      for (int64_t i = 0; i < p.size; ++i) EXPECT_LT(std::abs(p.gradient[i]), 1e-6) << p.name;
      continue;
    }
    EXPECT_LT(relative_error(p.gradient, *want), 1e-5) << p.name;
    ++compared;
  }
  EXPECT_GE(compared, bench.parameters().all().size() - 3)
      << "of " << bench.parameters().all().size();
}

INSTANTIATE_TEST_SUITE_P(Torch, TorchGradients,
                         testing::Combine(testing::Values("xlmr-ce", "bert-ce", "bert-mean",
                                                          "xlmr-cls", "m3"),
                                          testing::Values("cpu", "ref")),
                         [](const auto& tested) {
                           std::string name =
                               std::get<0>(tested.param) + "_" + std::get<1>(tested.param);
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(Runs, FollowTorchForFiftySteps) {
  const Goldens goldens;
  for (const std::string& name : goldens.names()) {
    Folder folder;
    TrainOptions options = options_of(goldens, name);
    // This loss depends on the order of a group's negatives, which a run draws anew each time.
    if (options.kd_loss_type == "m3_kd_loss") continue;
    options.output_dir = folder / "out";
    std::vector<TrainStep> steps;
    TrainEvents events;
    events.step = [&](const TrainStep& step) { steps.push_back(step); };
    train(options, events);
    const auto losses = goldens.find(name).at("losses").elements("losses");
    const auto norms = goldens.find(name).at("norms").elements("norms");
    ASSERT_EQ(steps.size(), losses.size()) << name;
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_NEAR(steps[i].loss, losses[i].number("loss"), 1e-3) << name << " step " << i;
    }
    EXPECT_NEAR(steps[0].gradient_norm / norms[0].number("norm"), 1, 1e-4) << name;
  }
}

}  // namespace
}  // namespace tamis::training
