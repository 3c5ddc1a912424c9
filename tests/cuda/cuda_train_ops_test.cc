// Every op of training on the CUDA backend against the ref device, as cuda_ops_test.cc has it for
// Ops: kernels emulated, cublasLt and the runtime faked, warps ahead of one another in both orders.
// Tolerances are those of the cpu backend (tests/ops/train_ops_test.cc).

#include "train_on_card.h"

#include "tamis/error.h"

namespace tamis {
namespace {

struct Size {
  int64_t m, k, n;
};

TEST_P(CudaTrainOpsTest, ProductEqualsRefForEveryTransposition) {
  // Also what is left to the plain kernel: few columns, and nothing to sum.
  for (const Size s : {Size{1, 1, 1},
                       {3, 7, 5},
                       {33, 40, 17},
                       {130, 33, 70},
                       {64, 600, 48},
                       {17, 129, 300},
                       {40, 200, 7},
                       {1, 9, 30},
                       {0, 9, 30},
                       {9, 4, 0},
                       {5, 0, 9},
                       {5, 0, 3}}) {
    for (const int turned : {0, 1, 2, 3}) {
      for (const int sums : {0, 1, 2}) {  // bias, none, accumulate
        const bool a_turned = (turned & 1) != 0, b_turned = (turned & 2) != 0;
        const bool accumulate = sums == 2;
        GuardedMat a(a_turned ? s.k : s.m, a_turned ? s.m : s.k);
        GuardedMat b(b_turned ? s.n : s.k, b_turned ? s.k : s.n, 5);
        GuardedMat got(s.m, s.n), expected(s.m, s.n);
        a.fill(random_);
        b.fill(random_);
        if (accumulate) expected = got.fill(random_);
        const auto bias = random_values(random_, s.n);
        const Mat y = put(got);
        ops().product({put(a), a_turned}, {put(b), b_turned}, sums == 0 ? put(bias) : nullptr,
                      accumulate, y);
        want().product({a.view(), a_turned}, {b.view(), b_turned},
                       sums == 0 ? bias.data() : nullptr, accumulate, expected.view());
        expect_got(y, got, expected, sum_tolerance(s.k) * (1 + std::sqrt(static_cast<double>(s.k))),
                   testing::PrintToString(std::vector<int64_t>{s.m, s.k, s.n, turned, sums}));
      }
    }
  }
}

TEST_P(CudaTrainOpsTest, LargeProductsAreCublasLts) {
  GuardedMat a(20, 30), b(30, 40), y(20, 40);
  machine_.fake().reset_counters();
  const Mat on = put(y);
  ops().product({put(a.fill(random_))}, {put(b.fill(random_))}, nullptr, false, on);
  card_->get(on, y);
  EXPECT_EQ(machine_.counts().matmuls, 1);
  EXPECT_EQ(machine_.counts().launches["tamis_product"], 0);
}

TEST_P(CudaTrainOpsTest, SumsOfColumnsAreAdded) {
  for (const int64_t rows : {0, 1, 64, 301}) {
    GuardedMat x(rows, 270), got(1, 270);
    x.fill(random_);
    got.fill(random_);
    GuardedMat expected = got;
    const Mat sums = put(got);
    ops().add_columns(put(x), sums.data);
    want().add_columns(x.view(), expected.view().row(0));
    expect_got(sums, got, expected, sum_tolerance(301) * 20, std::to_string(rows));
  }
}

TEST_P(CudaTrainOpsTest, EmbeddingsAndTheirGradients) {
  constexpr int64_t kVocab = 50, kPositions = 20, kTypes = 2, kHidden = 37, kTokens = 90;
  std::vector<float> words = random_values(random_, kVocab * kHidden);
  const auto positions = random_values(random_, kPositions * kHidden);
  const auto types = random_values(random_, kTypes * kHidden);
  EmbeddingWeights w;
  w.vocab = kVocab;
  w.hidden = kHidden;
  std::vector<int32_t> ids, places, kinds;
  for (int64_t t = 0; t < kTokens; ++t) {
    ids.push_back(static_cast<int32_t>(random_() % 7));  // each often
    places.push_back(static_cast<int32_t>(t % kPositions));
    kinds.push_back(static_cast<int32_t>(t % kTypes));
  }
  BatchView batch{ids.data(), places.data(), kinds.data(), nullptr, kTokens, 1};
  const BatchView on{put(ids), put(places), put(kinds), nullptr, kTokens, 1};
  GuardedMat got(kTokens, kHidden), expected(kTokens, kHidden), d(kTokens, kHidden);
  w.words = reinterpret_cast<const std::byte*>(words.data());
  w.positions = positions.data();
  w.types = types.data();
  want().embed(w, batch, expected.view());
  w.words = reinterpret_cast<const std::byte*>(put(words));
  w.positions = put(positions);
  w.types = put(types);
  const Mat out = put(got);
  ops().embed(w, on, out);
  expect_got(out, got, expected, 1e-6, "embeddings");

  const Mat on_d = put(d.fill(random_));
  for (const bool frozen : {false, true}) {
    std::vector<float> a(words.size() + positions.size() + types.size()), b(a.size());
    float* tables = put(a);
    for (auto [backend, view, gradient, to] :
         {std::tuple{&ops(), &on, ConstMat(on_d), tables},
          {&want(), static_cast<const BatchView*>(&batch), ConstMat(d.view()), b.data()}}) {
      backend->embed_backward(gradient, *view, frozen ? nullptr : to, to + words.size(),
                              to + words.size() + positions.size());
    }
    card_->get(tables, a);
    // Both add in the order of the tokens.
    EXPECT_EQ(a, b);
  }
}

TEST_P(CudaTrainOpsTest, LayerNormAndItsGradients) {
  for (const int64_t n : {1, 5, 32, 384}) {
    const int64_t rows = 150;
    const TestNorm norm(random_, n);
    const LayerNormWeights on_norm{put(norm.gamma), put(norm.beta), 1e-5f};
    GuardedMat x(rows, n), y(rows, n), want_y(rows, n), d(rows, n), got(rows, n), expected(rows, n);
    std::vector<float> stats(2 * rows), want_stats(2 * rows);
    const Mat on_x = put(x.fill(random_, 2)), on_y = put(y), on_d = put(d.fill(random_));
    float* on_stats = put(stats);
    ops().layer_norm(on_x, on_norm, on_y, on_stats);
    want().layer_norm(x.view(), norm.view(), want_y.view(), want_stats.data());
    if (n > 1) {
      expect_got(on_y, y, want_y, 2e-5, "layer norm");
      card_->get(on_stats, stats);
      for (size_t i = 0; i < stats.size(); ++i) ASSERT_NEAR(stats[i], want_stats[i], 1e-5) << i;
    }
    const float* same_stats = put(want_stats);
    GuardedMat gamma(2, n), want_gamma(2, n);
    want_gamma = gamma.fill(random_);
    const Mat on_gamma = put(gamma), on_got = put(got);
    ops().layer_norm_backward(on_d, on_x, same_stats, on_norm.gamma, on_got, on_gamma.row(0),
                              on_gamma.row(1));
    want().layer_norm_backward(d.view(), x.view(), want_stats.data(), norm.gamma.data(),
                               expected.view(), want_gamma.view().row(0), want_gamma.view().row(1));
    // With one number the variance is 0 and everything is scaled by 1/sqrt(eps).
    expect_got(on_got, got, expected, n == 1 ? 1e-2 : 2e-5, "d_x");
    expect_got(on_gamma, gamma, want_gamma, sum_tolerance(rows) * 20, "d_gamma and d_beta");
    // In place: what is summed is d_y as it was. And for a frozen norm.
    want_gamma = gamma;
    const Mat in_place = put(d), again = put(gamma);
    ops().layer_norm_backward(in_place, on_x, same_stats, on_norm.gamma, in_place, again.row(0),
                              nullptr);
    expect_got(in_place, d, got, 0, "d_x in place");
    ops().layer_norm_backward(on_d, on_x, same_stats, on_norm.gamma, on_d, nullptr, nullptr);
    expect_got(on_d, d, got, 0, "of a frozen norm");
    GuardedMat twice = want_gamma;
    card_->get(again, twice);
    if (n > 1) {
      EXPECT_NE(twice.view().row(0)[0], want_gamma.view().row(0)[0]);
    }
    EXPECT_EQ(twice.view().row(1)[0], want_gamma.view().row(1)[0]) << "d_beta was left out";
  }
}

TEST_P(CudaTrainOpsTest, ActivationsAndTheirDerivatives) {
  for (const Activation f :
       {Activation::kGelu, Activation::kTanh, Activation::kRelu, Activation::kNone}) {
    GuardedMat x(40, 67), d(40, 67), got(40, 67), expected(40, 67);
    x.fill(random_, 3);
    x.view().row(0)[0] = 30.0f;
    x.view().row(0)[1] = -30.0f;
    x.view().row(0)[2] = 0.0f;
    const Mat on_x = put(x), on_d = put(d.fill(random_)), y = put(got);
    ops().activate(f, on_x, y);
    want().activate(f, x.view(), expected.view());
    expect_got(y, got, expected, 3e-6, "activation");
    ops().activate_backward(f, on_x, on_d, y);
    want().activate_backward(f, x.view(), d.view(), expected.view());
    expect_got(y, got, expected, 4e-6, "derivative");
    ops().activate_backward(f, on_x, on_d, on_d);
    expect_got(on_d, d, got, 0, "in place");
  }
}

TEST_P(CudaTrainOpsTest, NaNStaysNaN) {
  GuardedMat x(1, 9), d(1, 9), got(1, 9);
  x.fill(random_);
  x.view().row(0)[4] = std::numeric_limits<float>::quiet_NaN();
  const Mat on_x = put(x), on_d = put(d.fill(random_)), y = put(got);
  for (const Activation f : {Activation::kGelu, Activation::kTanh}) {
    ops().activate_backward(f, on_x, on_d, y);
    card_->get(y, got);
    EXPECT_TRUE(std::isnan(got.view().row(0)[4]));
  }
}

TEST_P(CudaTrainOpsTest, DropoutDropsTheSameEverywhere) {
  const auto noise = noise_rows(60);
  const uint32_t* on_noise = put(noise);
  GuardedMat x(60, 75), r(60, 75), got(60, 75), expected(60, 75);
  const Mat on_x = put(x.fill(random_)), on_r = put(r.fill(random_)), y = put(got);
  for (const float rate : {0.0f, 0.1f, 0.9f}) {
    const Dropout dropout{rate, 0x123456789abcdef, 5};
    for (const bool residual : {false, true}) {
      const ConstMat on_residual = residual ? ConstMat(on_r) : ConstMat();
      ops().dropout(on_x, on_residual, dropout, rate > 0 ? on_noise : nullptr, y);
      want().dropout(x.view(), residual ? ConstMat(r.view()) : ConstMat(), dropout, noise.data(),
                     expected.view());
      expect_got(y, got, expected, 0, "dropout");
      const Mat in_place = put(x);
      ops().dropout(in_place, on_residual, dropout, on_noise, in_place);
      expect_got(in_place, got, expected, 0, "in place of x");
      if (!residual) continue;
      const Mat over_residual = put(r);
      ops().dropout(on_x, over_residual, dropout, on_noise, over_residual);
      expect_got(over_residual, got, expected, 0, "in place of the residual");
    }
  }
}

TEST_P(CudaTrainOpsTest, ScaleMultipliesInPlace) {
  GuardedMat got(33, 67);
  GuardedMat expected = got.fill(random_);
  const Mat on = put(got);
  ops().scale(on, -0.3f);
  want().scale(expected.view(), -0.3f);
  expect_got(on, got, expected, 0, "scale");
}

TEST_P(CudaTrainOpsTest, RowsAreScatteredAndSpread) {
  GuardedMat x(3, 21), got(40, 21), expected(40, 21);
  const std::vector<int32_t> rows = {4, 11, 39}, cu = {0, 1, 30, 40};
  const Mat on_x = put(x.fill(random_)), y = put(got);
  ops().put_rows(on_x, put(rows), y);
  want().put_rows(x.view(), rows.data(), expected.view());
  expect_got(y, got, expected, 0, "put_rows");
  ops().mean_rows_backward(on_x, put(cu), y);
  want().mean_rows_backward(x.view(), cu.data(), expected.view());
  expect_got(y, got, expected, 1e-7, "mean_rows_backward");
}

TEST_P(CudaTrainOpsTest, OptimiserOverAllAndOverSomeRows) {
  constexpr int64_t kRows = 300, kWidth = 131;
  const std::vector<int32_t> some = {0, 5, 6, 299};
  const int32_t* on_some = put(some);
  struct Case {
    Rows host, on;
  };
  for (const Case& c : {Case{{nullptr, kRows, kWidth}, {nullptr, kRows, kWidth}},
                        {{nullptr, 1, kRows * kWidth}, {nullptr, 1, kRows * kWidth}},
                        {{some.data(), 4, kWidth}, {on_some, 4, kWidth}},
                        {{some.data(), 0, kWidth}, {on_some, 0, kWidth}}}) {
    AdamW how;
    how.learning_rate = 1e-2f;
    how.weight_decay = 0.1f;
    how.step = 3;
    how.gradient_scale = 0.5f;
    auto g = random_values(random_, kRows * kWidth),
         m = random_values(random_, kRows * kWidth, 0.1f);
    auto v = random_values(random_, kRows * kWidth, 0.1f),
         w = random_values(random_, kRows * kWidth);
    for (float& x : v) x *= x;
    float *on_g = put(g), *on_m = put(m), *on_v = put(v), *on_w = put(w);
    const double squares = want().sum_of_squares(g.data(), c.host);
    EXPECT_NEAR(ops().sum_of_squares(on_g, c.on), squares, 1e-12 * squares);
    ops().adamw(how, c.on, on_g, on_m, on_v, on_w);
    ops().zero(on_g, c.on);
    want().adamw(how, c.host, g.data(), m.data(), v.data(), w.data());
    want().zero(g.data(), c.host);
    std::vector<float> g2(g.size()), m2(g2), v2(g2), w2(g2);
    card_->get(on_g, g2);
    card_->get(on_m, m2);
    card_->get(on_v, v2);
    card_->get(on_w, w2);
    EXPECT_EQ(g2, g);
    for (size_t i = 0; i < w.size(); ++i) {
      ASSERT_NEAR(m2[i], m[i], 1e-6) << i;
      ASSERT_NEAR(v2[i], v[i], 1e-6) << i;
      ASSERT_NEAR(w2[i], w[i], 1e-5) << i;
    }
  }
}

TEST_P(CudaTrainOpsTest, ASumOfSquaresThatIsNotFiniteShows) {
  std::vector<float> x(500, 1.0f);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    x[317] = bad;
    EXPECT_FALSE(std::isfinite(ops().sum_of_squares(put(x), {nullptr, 1, 500})));
  }
}

TEST_P(CudaTrainOpsTest, TooLittleScratchIsAnError) {
  ops().set_scratch(card_->allocate(ops().scratch_bytes({8, 8, 8, 8})));
  GuardedMat x(3000, 90);
  const Mat on = put(x.fill(random_));
  try {
    ops().add_columns(on, on.data);
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
  }
}

TEST_P(CudaTrainOpsTest, ZeroedMemoryIsZeroAndMayBeTooMuch) {
  const Buffer buffer =
      card_->device().allocate_zeroed(100'004, card_->account(), Purpose::kWeights);
  std::vector<uint32_t> got(buffer.bytes() / 4, 7);
  card_->get(reinterpret_cast<const uint32_t*>(buffer.data()), got);
  EXPECT_EQ(got, std::vector<uint32_t>(got.size(), 0));
  machine_.fail_allocation(1);
  try {
    card_->device().allocate_zeroed(100, card_->account(), Purpose::kWeights);
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  }
}

INSTANTIATE_TEST_SUITE_P(Warps, CudaTrainOpsTest, testing::Bool(), [](const auto& order) {
  return order.param ? "last_first" : "first_first";
});

}  // namespace
}  // namespace tamis
