// The ops of training with made-up operands, as selftest_ops.cc has those of inference.

#include <numeric>
#include <random>

#include <fmt/format.h>

#include "engine/selftest_ops.h"

namespace tamis {
namespace {

std::vector<float> normal(std::mt19937& random, int64_t n) {
  std::normal_distribution<float> distribution;
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = distribution(random);
  return out;
}

OpCase train_case(
    std::string name, double tolerance,
    const std::function<std::vector<float>(OpBench&, TrainOps&, std::mt19937&)>& run) {
  OpCase c;
  c.name = "training: " + std::move(name);
  c.tolerance = tolerance;
  c.run = [run](OpBench& bench) {
    std::mt19937 random(31);
    return run(bench, *bench.train_ops(), random);
  };
  return c;
}

/// One after the other.
std::vector<float> both(std::vector<float> a, const std::vector<float>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

OpCase product_case(bool a_turned, bool b_turned, bool accumulate) {
  const int64_t m = 130, k = 384, n = 200;
  return train_case(fmt::format("product{}{}{}", a_turned ? ", left transposed" : "",
                                b_turned ? ", right transposed" : "", accumulate ? ", added" : ""),
                    // As linear in f32: a sum of k terms errs by its own size.
                    6 * 0x1p-24 * k, [=](OpBench& bench, TrainOps& ops, std::mt19937& random) {
                      const Mat a = bench.put(normal(random, m * k), a_turned ? k : m);
                      const Mat b = bench.put(normal(random, k * n), b_turned ? n : k);
                      const Mat y = bench.put(normal(random, m * n), m);
                      ops.product({a, a_turned}, {b, b_turned}, nullptr, accumulate, y);
                      return bench.get(y);
                    });
}

OpCase attention_case(float rate) {
  return train_case(fmt::format("attention and its gradients, dropout {}", rate), 5e-5,
                    [=](OpBench& bench, TrainOps& ops, std::mt19937& random) {
                      const std::vector<int32_t> cu = {0, 100, 101, 160};
                      const int64_t tokens = 160, width = 4 * 32;
                      std::vector<uint32_t> noise(static_cast<size_t>(tokens));
                      std::iota(noise.begin(), noise.end(), 1000u);
                      TrainAttention a;
                      a.q = bench.put(normal(random, tokens * width), tokens);
                      a.k = bench.put(normal(random, tokens * width), tokens);
                      a.v = bench.put(normal(random, tokens * width), tokens);
                      a.cu_seqlens = bench.put(cu);
                      a.host_cu_seqlens = cu.data();
                      a.sequences = 3;
                      a.heads = 4;
                      a.dropout = {rate, 77, 5};
                      a.noise_rows = bench.put(noise);
                      const Mat out = bench.room(tokens, width),
                                d_out = bench.put(normal(random, tokens * width), tokens);
                      const Mat d_q = bench.room(tokens, width), d_k = bench.room(tokens, width),
                                d_v = bench.room(tokens, width);
                      ops.attention(a, out);
                      ops.attention_backward(a, out, d_out, d_q, d_k, d_v);
                      return both(both(bench.get(out), bench.get(d_q)),
                                  both(bench.get(d_k), bench.get(d_v)));
                    });
}

OpCase norm_case() {
  return train_case(
      "layer_norm and its gradients", 1e-4,
      [](OpBench& bench, TrainOps& ops, std::mt19937& random) {
        const int64_t rows = 300, n = 768;
        const Mat x = bench.put(normal(random, rows * n), rows), y = bench.room(rows, n);
        const Mat stats = bench.room(rows, 2), d_y = bench.put(normal(random, rows * n), rows);
        const Mat d_x = bench.room(rows, n);
        const LayerNormWeights w = {bench.put(normal(random, n)), bench.put(normal(random, n)),
                                    1e-5f};
        const Mat d_gamma = bench.put(normal(random, n), 1),
                  d_beta = bench.put(normal(random, n), 1);
        ops.layer_norm(x, w, y, stats.data);
        ops.layer_norm_backward(d_y, x, stats.data, w.gamma, d_x, d_gamma.data, d_beta.data);
        return both(both(bench.get(y), bench.get(d_x)),
                    both(bench.get(d_gamma), bench.get(d_beta)));
      });
}

OpCase embed_case() {
  return train_case("gradients of the word table", 1e-4,
                    [](OpBench& bench, TrainOps& ops, std::mt19937& random) {
                      const int64_t tokens = 200, hidden = 384, vocab = 50;
                      std::vector<int32_t> ids(tokens), positions(tokens), types(tokens, 0);
                      for (int32_t& id : ids) id = static_cast<int32_t>(random() % vocab);
                      std::iota(positions.begin(), positions.end(), 0);
                      const Mat d = bench.put(normal(random, tokens * hidden), tokens);
                      const Mat words = bench.put(normal(random, vocab * hidden), vocab);
                      ops.embed_backward(d,
                                         {bench.put(ids), bench.put(positions), bench.put(types),
                                          bench.put(std::vector<int32_t>{0, 200}), tokens, 1},
                                         words.data, nullptr, nullptr);
                      return bench.get(words);
                    });
}

OpCase dropout_case() {
  return train_case("dropout", 0, [](OpBench& bench, TrainOps& ops, std::mt19937& random) {
    const Mat x = bench.put(normal(random, 100 * 1000), 100);
    std::vector<uint32_t> noise(100);
    std::iota(noise.begin(), noise.end(), 7u);
    ops.dropout(x, {}, {0.1f, 3, 9}, bench.put(noise), x);
    return bench.get(x);
  });
}

OpCase adamw_case() {
  return train_case(
      "AdamW on some rows", 1e-6, [](OpBench& bench, TrainOps& ops, std::mt19937& random) {
        const int64_t rows = 100, width = 384;
        const auto some = [&] { return bench.put(normal(random, rows * width), rows); };
        const Mat gradient = some(), first = some(), weight = some();
        std::vector<float> squares = normal(random, rows * width);
        for (float& x : squares) x *= x;
        const Mat second = bench.put(squares, rows);
        AdamW how;
        how.learning_rate = 1e-3f;
        how.weight_decay = 0.01f;
        how.step = 7;
        how.gradient_scale = 0.5f;
        ops.adamw(how, {bench.put(std::vector<int32_t>{0, 3, 50, 99}), 4, width}, gradient.data,
                  first.data, second.data, weight.data);
        return both(bench.get(weight), both(bench.get(first), bench.get(second)));
      });
}

}  // namespace

std::vector<OpCase> train_op_cases() {
  std::vector<OpCase> out;
  for (const bool a_turned : {false, true}) {
    for (const bool b_turned : {false, true})
      out.push_back(product_case(a_turned, b_turned, false));
  }
  out.push_back(product_case(true, false, true));
  out.push_back(norm_case());
  for (const float rate : {0.0f, 0.1f}) out.push_back(attention_case(rate));
  out.push_back(dropout_case());
  out.push_back(embed_case());
  out.push_back(adamw_case());
  return out;
}

}  // namespace tamis
