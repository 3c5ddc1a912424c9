// Low-rank adapters: their gradients from those of whole matrices, what a run with them writes, and
// what it refuses.

#include <algorithm>

#include "tamis/reranker.h"
#include "train_bench.h"

namespace tamis::training {
namespace {

const LoraConfig kAllLinear = {.rank = 3, .alpha = 6, .dropout = 0, .targets = {"all-linear"}};

std::vector<float> values_of(const Parameter& p) { return {p.value, p.value + p.size}; }

/// Adapters begin with B = 0, where A has no gradient yet.
void fill_b(Parameters& parameters) {
  size_t n = 0;
  for (const Parameter& p : parameters.all()) {
    for (int64_t i = 0; p.role == Role::kLoraB && i < p.size; ++i) {
      p.value[i] = 0.05f * std::sin(static_cast<float>(++n));
    }
  }
}

/// x [rows, inner] times y [inner, cols].
std::vector<float> product(const std::vector<float>& x, const std::vector<float>& y, int64_t rows,
                           int64_t inner, int64_t cols) {
  std::vector<float> out;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t k = 0; k < inner; ++k) {
        sum += static_cast<double>(x[static_cast<size_t>(r * inner + k)]) *
               y[static_cast<size_t>(k * cols + c)];
      }
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

std::vector<float> transposed(const std::vector<float>& x, int64_t rows, int64_t cols) {
  std::vector<float> out(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      out[static_cast<size_t>(c * rows + r)] = x[static_cast<size_t>(r * cols + c)];
    }
  }
  return out;
}

std::vector<float> scaled(std::vector<float> x, float factor) {
  for (float& v : x) v *= factor;
  return x;
}

NetworkOutput pass(Bench& bench) {
  NetworkOutput out = bench.network().forward(bench.batch(0, bench.size()), true);
  NetworkOutput d;
  d.vectors = some_gradients(out.vectors.size());
  bench.network().backward(d);
  return out;
}

TEST(Lora, AnAdaptersGradientsAreThoseOfItsMatrixProjected) {
  for (const char* name : {"xlmr-ce", "bert-ce", "xlmr-cls"}) {
    const TrainOptions options = options_of(Goldens(), name);
    Bench with(options, "cpu", 2, {}, false, "", kAllLinear);
    fill_b(with.parameters());
    Bench whole(options, "cpu", 2, {}, false);
    const float scale = kAllLinear.scale();
    for (const Parameter& a : with.parameters().all()) {
      if (a.role != Role::kLoraA) continue;
      const Parameter& b = with.parameters().at(a.slot, a.layer, Role::kLoraB);
      const Parameter& w = whole.parameters().at(a.slot, a.layer);
      const auto ba = product(values_of(b), values_of(a), w.shape[0], 3, w.shape[1]);
      for (int64_t i = 0; i < w.size; ++i) w.value[i] += scale * ba[static_cast<size_t>(i)];
    }
    const NetworkOutput got = pass(with), want = pass(whole);
    EXPECT_LT(largest_difference(got.vectors, want.vectors), 1e-5) << name;
    size_t adapters = 0;
    for (const Parameter& a : with.parameters().all()) {
      if (a.role == Role::kTensor && a.trains()) {
        const Parameter& same = whole.parameters().at(a.slot, a.layer);
        if (a.slot == Slot::kHeadOutBias) continue;
        EXPECT_LT(largest_difference({a.gradient, a.gradient + a.size},
                                     {same.gradient, same.gradient + a.size}),
                  1e-5)
            << a.name;
      }
      if (a.role != Role::kLoraA) continue;
      ++adapters;
      const Parameter& b = with.parameters().at(a.slot, a.layer, Role::kLoraB);
      const Parameter& w = whole.parameters().at(a.slot, a.layer);
      const int64_t out = w.shape[0], in = w.shape[1];
      const std::vector<float> d_w(w.gradient, w.gradient + w.size);
      const auto want_b = scaled(product(d_w, transposed(values_of(a), 3, in), out, in, 3), scale);
      const auto want_a = scaled(product(transposed(values_of(b), out, 3), d_w, 3, out, in), scale);
      EXPECT_LT(largest_difference({b.gradient, b.gradient + b.size}, want_b), 2e-5) << b.name;
      EXPECT_LT(largest_difference({a.gradient, a.gradient + a.size}, want_a), 2e-5) << a.name;
    }
    EXPECT_EQ(adapters, 12u) << "six in each of two layers";
  }
}

TEST(Lora, GradientsWithDropoutAreTheSlopeOfTheOutputs) {
  LoraConfig lora = kAllLinear;
  lora.dropout = 0.3f;
  Bench bench(options_of(Goldens(), "xlmr-ce"), "cpu", 1, {}, true, "", lora);
  fill_b(bench.parameters());
  const NetworkOutput out = pass(bench);
  const std::vector<float> d = some_gradients(out.vectors.size());
  const auto value = [&] {
    const NetworkOutput o = bench.network().forward(bench.batch(0, bench.size()), false);
    double sum = 0;
    for (size_t i = 0; i < d.size(); ++i) sum += static_cast<double>(d[i]) * o.vectors[i];
    return sum;
  };
  for (const Role role : {Role::kLoraA, Role::kLoraB}) {
    for (const Slot slot : kAdaptable) {
      const Parameter& p = bench.parameters().at(slot, 1, role);
      // Along the gradient itself, so that the slope is not lost in rounding.
      const std::vector<float> was = values_of(p), g(p.gradient, p.gradient + p.size);
      double squares = 0;
      for (const float x : g) squares += static_cast<double>(x) * x;
      const double step = 0.01 / std::sqrt(squares);
      const auto at = [&](double t) {
        for (size_t i = 0; i < g.size(); ++i) p.value[i] = was[i] + static_cast<float>(t * g[i]);
        return value();
      };
      const double slope = (at(step) - at(-step)) / (2 * step);
      std::copy(was.begin(), was.end(), p.value);
      EXPECT_NEAR(slope / squares, 1, 0.02) << p.name;
    }
  }
}

TEST(Lora, CheckpointingGivesTheSameBitsWithDropout) {
  const TrainOptions options = options_of(Goldens(), "xlmr-ce");
  LoraConfig lora = kAllLinear;
  lora.dropout = 0.1f;
  const auto gradients = [&](const CheckpointPolicy& policy, int threads) {
    Bench bench(options, "cpu", threads, policy, true, "", lora);
    fill_b(bench.parameters());
    pass(bench);
    return bench.gradients();
  };
  const auto plain = gradients({}, 1);
  EXPECT_EQ(gradients({}, 3), plain);
  EXPECT_EQ(gradients({Recompute::kAttention, 1}, 1), plain);
  EXPECT_EQ(gradients({Recompute::kLayers, 1}, 1), plain);
  EXPECT_EQ(gradients({Recompute::kLayers, 2}, 1), plain);
}

TrainOptions lora_run(const fs::path& out, const std::string& name = "xlmr-ce") {
  TrainOptions o = small_run(out, name);
  o.use_lora = true;
  o.lora_rank = 4;
  o.lora_alpha = 8;
  return o;
}

std::vector<float> tensor(const io::Checkpoint& file, const std::string& name) {
  const TensorView* view = file.find(name);
  EXPECT_NE(view, nullptr) << name;
  if (view == nullptr) return {};
  std::vector<float> out(static_cast<size_t>(element_count(view->shape)));
  convert_to_f32(view->dtype, view->bytes.data(), out.data(), out.size());
  return out;
}

TEST(Lora, WhatIsWrittenIsTheModelWithItsAdaptersAddedUp) {
  Folder folder;
  const TrainReport report = train(lora_run(folder / "out"));
  // Six adapters in each of two layers of 32 x 32 and 32 x 56, and the head.
  const int64_t adapters = 2 * 4 * (4 * 64 + 2 * 88), head = 32 * 32 + 32 + 32 + 1;
  EXPECT_EQ(report.plan.trained_parameters, adapters + head);
  const auto before = io::Checkpoint::open(model("xlmr-ce"));
  const auto after = io::Checkpoint::open(folder / "out");
  const auto lora = io::Checkpoint::open_file(folder / "out/lora/adapter_model.safetensors");
  EXPECT_EQ(lora.tensors().size(), 2u * 12 + 4);
  size_t adapted = 0, same = 0;
  for (const TensorView& view : after.tensors()) {
    const auto was = tensor(before, view.name), now = tensor(after, view.name);
    if (view.name.starts_with("classifier")) {
      EXPECT_NE(now, was) << view.name;
      EXPECT_EQ(tensor(lora, "base_model.model." + view.name), now) << view.name;
      continue;
    }
    const std::string module = view.name.substr(0, view.name.rfind(".weight"));
    if (lora.find("base_model.model." + module + ".lora_A.weight") == nullptr) {
      EXPECT_EQ(now, was) << view.name;
      ++same;
      continue;
    }
    ++adapted;
    const auto a = tensor(lora, "base_model.model." + module + ".lora_A.weight");
    const auto b = tensor(lora, "base_model.model." + module + ".lora_B.weight");
    EXPECT_TRUE(std::any_of(b.begin(), b.end(), [](float x) { return x != 0; })) << module;
    auto want = product(b, a, view.shape[0], 4, view.shape[1]);
    for (size_t i = 0; i < want.size(); ++i) want[i] = was[i] + 2 * want[i];
    EXPECT_LT(largest_difference(now, want), 1e-6) << module;
  }
  EXPECT_EQ(adapted, 12u);
  EXPECT_GT(same, 20u);
  EXPECT_NO_THROW(Reranker::load(folder / "out"));
  const auto config =
      io::JsonDocument::parse(text_of(folder / "out/lora/adapter_config.json"), "c");
  EXPECT_EQ(config.root().at("r").integer("r"), 4);
  EXPECT_EQ(config.root().at("task_type").string("t"), "SEQ_CLS");
  EXPECT_EQ(config.root().at("target_modules").elements("t").size(), 12u);
}

TEST(Lora, AResumedRunIsUninterruptedBitForBit) {
  Folder folder;
  for (const char* name : {"xlmr-ce", "xlmr-bi-cls-norm"}) {  // the second gets a new head
    TrainOptions o = lora_run(folder / name, name);
    o.save_steps = 5;
    train(o);
    const auto file = [&](const char* path) { return text_of(folder / name / path); };
    const std::string whole = file("model.safetensors"),
                      adapters = file("lora/adapter_model.safetensors");
    EXPECT_NE(file("checkpoint-5/model.safetensors"), whole);
    o.resume = true;
    EXPECT_EQ(train(o).first_step, 5);
    EXPECT_EQ(file("model.safetensors"), whole);
    EXPECT_EQ(file("lora/adapter_model.safetensors"), adapters);
  }
}

TEST(Lora, GoesOnBesideTheModelThatItBeganWithOnly) {
  Folder folder;
  TrainOptions first = small_run(folder / "other");  // a model of the same shape
  train(first);
  TrainOptions o = lora_run(folder / "out");
  o.save_steps = 4;
  train(o);
  o.resume = true;
  o.model_name_or_path = folder / "other";
  EXPECT_NE(error_of([&] { train(o); }, ErrorCode::kInvalidArgument).find("was another one"),
            std::string::npos);
}

TEST(Lora, ModulesAndLayersAreChosen) {
  Folder folder;
  TrainOptions o = lora_run(folder / "out");
  o.target_modules = {"query", "attention.output.dense"};
  o.freeze_layers = 1;
  train(o);
  const auto lora = io::Checkpoint::open_file(folder / "out/lora/adapter_model.safetensors");
  std::vector<std::string> names;
  for (const TensorView& t : lora.tensors()) {
    if (t.name.find("lora_A") != std::string::npos) names.push_back(t.name);
  }
  std::sort(names.begin(), names.end());
  const std::string layer = "base_model.model.roberta.encoder.layer.1.attention.";
  EXPECT_EQ(names, (std::vector<std::string>{layer + "output.dense.lora_A.weight",
                                             layer + "self.query.lora_A.weight"}));
}

TEST(Lora, WhatMakesNoSenseIsRefused) {
  Folder folder;
  const auto error = [&](const std::function<void(TrainOptions&)>& change) {
    TrainOptions o = lora_run(folder / "out");
    change(o);
    return error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
  };
  EXPECT_EQ(error([](auto& o) { o.target_modules = {"q_proj"}; }),
            "target_modules: no layer has a \"q_proj\"; there are attention.self.query, "
            "attention.self.key, attention.self.value, attention.output.dense, "
            "intermediate.dense, output.dense, and all-linear");
  EXPECT_NE(error([](auto& o) { o.lora_rank = 0; }).find("lora_rank: expected"), std::string::npos);
  EXPECT_NE(error([](auto& o) { o.lora_dropout = 1; }).find("lora_dropout: expected"),
            std::string::npos);
  EXPECT_NE(error([](auto& o) { o.fix_encoder = true; }).find("adapters are in the encoder"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

}  // namespace
}  // namespace tamis::training
