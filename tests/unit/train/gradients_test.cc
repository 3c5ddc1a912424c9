// Gradients and whole runs against torch (tools/golden/make_train_goldens.py), and what must not
// change them: checkpointing, sub-batches, threads.

#include <cmath>

#include "device/device_set.h"
#include "train/trainer.h"
#include "train_fixture.h"

namespace tamis::training {
namespace {

/// A model on a device, and the data's first batch as it runs through it.
class Bench {
 public:
  Bench(const TrainOptions& options, const std::string& device, int threads,
        const CheckpointPolicy& policy, bool dropout, const std::string& isa = "")
      : devices_({}),
        source_(HostModel::open(read_spec(options.model_name_or_path, {}), {})),
        spec_(training_spec(source_->spec, options)),
        tokenizer_(text::Tokenizer::load(options.model_name_or_path)),
        device_(devices_.open(parse_device_name(device), isa)),
        stream_(device_->make_stream({threads, {}})),
        account_(device_->open_account("test", MemoryAccount::no_limit)),
        parameters_(*source_, spec_, {.token_heads_train = options.task == TrainTask::kM3}, 1,
                    *device_, *stream_, account_),
        network_(spec_, parameters_, device_, stream_, account_,
                 {dropout ? DropoutRates{0.1f, 0.1f, 0.1f} : DropoutRates{}, policy,
                  options.task == TrainTask::kM3}),
        dropout_(dropout) {
    const Dataset data(options);
    std::vector<Group> groups;
    for (size_t i = 0; i < data.size(); ++i) {
      // In the order of the file, with all negatives, as the goldens have them.
      const Example e = data.example(i);
      Group group{e.query, e.positives, e.positive_scores};
      group.passages.insert(group.passages.end(), e.negatives.begin(), e.negatives.end());
      group.teacher.insert(group.teacher.end(), e.negative_scores.begin(), e.negative_scores.end());
      groups.push_back(group);
    }
    sequences_ = Tokenize(*tokenizer_, options, spec_.max_length)(groups);
  }

  TrainBatch batch(size_t begin, size_t end) const {
    TrainBatch out;
    out.packed = sequences_.pack(begin, end, spec_.positions);
    for (size_t i = begin; i < end; ++i) out.numbers.push_back(static_cast<int32_t>(i));
    out.seed = 77;
    out.dropout = dropout_;
    return out;
  }
  std::vector<int32_t> special_ids() const {
    const text::SpecialTokens& special = tokenizer_->special_tokens();
    return {special.cls, special.eos, special.pad, special.unk};
  }
  size_t size() const { return sequences_.encodings.size(); }
  const Sequences& sequences() const { return sequences_; }
  Network& network() { return network_; }
  Parameters& parameters() { return parameters_; }

  /// All gradients, of the word table too, after a pass with these gradients of the outputs.
  std::vector<float> gradients() {
    std::vector<float> out;
    for (const Parameter& p : parameters_.all()) {
      if (p.trains()) out.insert(out.end(), p.gradient, p.gradient + p.size);
    }
    return out;
  }

 private:
  DeviceSet devices_;
  std::shared_ptr<const HostModel> source_;
  ModelSpec spec_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<MemoryAccount> account_;
  Parameters parameters_;
  Network network_;
  Sequences sequences_;
  bool dropout_;
};

std::vector<float> some_gradients(size_t n) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = std::sin(static_cast<float>(i) * 0.7f);
  return out;
}

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

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return most / scale;
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
