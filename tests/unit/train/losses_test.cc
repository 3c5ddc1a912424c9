// Each loss against differences of itself, in f64; what torch has for them is in gradients_test.cc.

#include "train/losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tamis::training {
namespace {

std::vector<float> random_values(size_t n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

/// d[i] against (f(x + e) - f(x - e)) / 2e, with the step that f32 really took.
template <class F>
void expect_gradient(std::vector<float>& x, std::span<const float> d, const F& f) {
  for (size_t i = 0; i < x.size(); ++i) {
    const float before = x[i];
    x[i] = before + 1e-3f;
    const double up = f(), above = x[i];
    x[i] = before - 1e-3f;
    const double down = f(), below = x[i];
    x[i] = before;
    ASSERT_NEAR(d[i], (up - down) / (above - below), 1e-5 + 1e-4 * std::abs(d[i])) << i;
  }
}

TEST(GroupLoss, IsCrossEntropyOfTheFirst) {
  const std::vector<float> logits = {2, 0, 1, /**/ -1, 3, 0.5};
  std::vector<float> d(6);
  const double a = -2 + std::log(std::exp(2) + 1 + std::exp(1));
  const double b = 1 + std::log(std::exp(-1) + std::exp(3) + std::exp(0.5));
  EXPECT_NEAR(group_loss({logits, {}, 3}, 0.5, d), (a + b) / 2, 1e-12);
}

TEST(GroupLoss, GradientIsItsDifference) {
  const std::vector<double> teacher = {3, -1, 0.5, 2, 2, -4, 1, 0};
  for (const bool distil : {false, true}) {
    std::vector<float> logits = random_values(8, 1, 2), d(8), ignored(8);
    const auto loss = [&] {
      return group_loss({logits, distil ? std::span(teacher) : std::span<const double>(), 4}, 0.7,
                        ignored);
    };
    group_loss({logits, distil ? std::span(teacher) : std::span<const double>(), 4}, 0.7, d);
    expect_gradient(logits, d, loss);
  }
}

TEST(GroupLoss, LargeLogitsDoNotOverflow) {
  const std::vector<float> logits = {1e4f, -1e4f, 0};
  std::vector<float> d(3);
  EXPECT_EQ(group_loss({logits, {}, 3}, 1, d), 0);
  EXPECT_NEAR(group_loss({std::vector<float>{-1e4f, 1e4f, 0}, {}, 3}, 1, d), 2e4, 1e-6);
}

TEST(ContrastiveLoss, GradientIsItsDifference) {
  constexpr int64_t kDim = 6, kQueries = 3, kGroup = 2;
  const std::vector<double> teacher = {2, 1, 0, -1, 3, 3};
  for (const Distillation kd : {Distillation::kNone, Distillation::kKlDiv, Distillation::kM3}) {
    for (const bool in_batch : {true, false}) {
      for (const bool normalize : {true, false}) {
        for (const std::vector<int64_t>& dims : {std::vector<int64_t>{}, {2, 4, 6}}) {
          std::vector<float> q = random_values(kDim * kQueries, 3),
                             p = random_values(kDim * kQueries * kGroup, 4);
          std::vector<float> d_q(q.size()), d_p(p.size()), ignored_q(q.size()), ignored_p(p.size());
          const ContrastiveOptions options{0.3, normalize, in_batch, kd, dims};
          const auto loss = [&](std::vector<float>& to_q, std::vector<float>& to_p) {
            return contrastive_loss({q, p, teacher, kDim, kGroup}, options, to_q, to_p);
          };
          loss(d_q, d_p);
          const auto again = [&] { return loss(ignored_q, ignored_p); };
          expect_gradient(q, d_q, again);
          expect_gradient(p, d_p, again);
        }
      }
    }
  }
}

TEST(UnifiedLoss, GradientIsItsDifference) {
  constexpr int64_t kDim = 5, kTokenDim = 4;
  const std::vector<int32_t> cu = {0, 3, 7, 10, 14, 16, 21};  // two queries, four passages
  const std::vector<int32_t> ids = {0, 7, 2, 0, 8, 9, 2, 0, 7, 2, 0, 7, 7, 2, 0, 2, 0, 9, 8, 7, 2};
  const std::vector<int32_t> special = {0, 2};
  std::vector<float> vectors = random_values(6 * kDim, 5), weights = random_values(21, 6),
                     tokens = random_values(21 * kTokenDim, 7);
  for (float& w : weights) w = std::abs(w) < 0.05f ? 0.2f : w;  // not at the kink of relu
  // With self-distillation the teacher counts as a constant: that is compared with torch alone.
  for (const bool in_batch : {true, false}) {
    ContrastiveOptions options;
    options.temperature = 0.5;
    options.in_batch_negatives = in_batch;
    const auto loss = [&](UnifiedGradients& d) {
      UnifiedBatch b{vectors, weights, tokens, ids, cu, special, {}};
      b.queries = 2;
      b.group = 2;
      b.dimension = kDim;
      b.token_dimension = kTokenDim;
      return unified_loss(b, options, false, d);
    };
    UnifiedGradients d, ignored;
    loss(d);
    const auto again = [&] { return loss(ignored); };
    expect_gradient(vectors, d.vectors, again);
    expect_gradient(weights, d.token_weights, again);
    expect_gradient(tokens, d.token_vectors, again);
  }
}

}  // namespace
}  // namespace tamis::training
