// Every op of training on the cpu against the ref device, on each instruction set that this machine
// has; and ref's backward ops against differences of its forward ops.

#include <numeric>

#include "numeric/philox.h"
#include "ops_fixture.h"

namespace tamis {
namespace {

double sum_tolerance(int64_t k) { return 32 * std::sqrt(static_cast<double>(k)) * 0x1p-24; }

class TrainDevice {
 public:
  TrainDevice(const std::string& name, int threads, const std::string& isa)
      : device_(DeviceSet({}).open(parse_device_name(name), isa)),
        stream_(device_->make_stream({threads, {}})),
        scratch_(device_->allocate(ops().scratch_bytes({700, 300, 600, 64}) + 64,
                                   std::make_shared<MemoryAccount>("test", MemoryAccount::no_limit),
                                   Purpose::kWorkspace)) {
    ops().set_scratch({scratch_.data(), scratch_.bytes()});
  }
  TrainOps& ops() { return *stream_->train_ops(); }

 private:
  std::shared_ptr<Device> device_;
  std::shared_ptr<Stream> stream_;
  Buffer scratch_;
};

class TrainOpsTest : public testing::TestWithParam<DeviceCase> {
 protected:
  TrainDevice cpu_{"cpu", GetParam().threads, GetParam().isa};
  TrainDevice ref_{"ref", 1, ""};
  std::mt19937 random_{20261130};
};

TEST_P(TrainOpsTest, ProductEqualsRefForEveryTransposition) {
  struct Size {
    int64_t m, k, n;
  };
  for (const Size s :
       {Size{1, 1, 1}, {3, 7, 5}, {33, 40, 17}, {130, 33, 70}, {64, 600, 48}, {17, 129, 300}}) {
    for (const bool a_turned : {false, true}) {
      for (const bool b_turned : {false, true}) {
        for (const bool accumulate : {false, true}) {
          GuardedMat a(a_turned ? s.k : s.m, a_turned ? s.m : s.k);
          GuardedMat b(b_turned ? s.n : s.k, b_turned ? s.k : s.n);
          a.fill(random_);
          b.fill(random_);
          GuardedMat got(s.m, s.n), want(s.m, s.n);
          if (accumulate) {
            got.fill(random_);
            want = got;
          }
          const auto bias = random_values(random_, s.n);
          const float* with = accumulate ? nullptr : bias.data();
          cpu_.ops().product({a.view(), a_turned}, {b.view(), b_turned}, with, accumulate,
                             got.view());
          ref_.ops().product({a.view(), a_turned}, {b.view(), b_turned}, with, accumulate,
                             want.view());
          expect_near(
              got, want, sum_tolerance(s.k) * (1 + std::sqrt(static_cast<double>(s.k))),
              testing::PrintToString(std::vector<int64_t>{s.m, s.k, s.n, a_turned, b_turned}));
        }
      }
    }
  }
}

TEST_P(TrainOpsTest, SumsOfColumnsAreAdded) {
  GuardedMat x(301, 270), got(1, 270);
  x.fill(random_);
  got.fill(random_);
  GuardedMat want = got;
  cpu_.ops().add_columns(x.view(), got.view().row(0));
  ref_.ops().add_columns(x.view(), want.view().row(0));
  expect_near(got, want, sum_tolerance(301) * 20, "columns");
}

TEST_P(TrainOpsTest, EmbeddingsAndTheirGradients) {
  constexpr int64_t kVocab = 50, kPositions = 20, kTypes = 2, kHidden = 37, kTokens = 90;
  const auto words = random_values(random_, kVocab * kHidden);
  const auto positions = random_values(random_, kPositions * kHidden);
  const auto types = random_values(random_, kTypes * kHidden);
  EmbeddingWeights w;
  w.words = reinterpret_cast<const std::byte*>(words.data());
  w.vocab = kVocab;
  w.hidden = kHidden;
  w.positions = positions.data();
  w.types = types.data();
  std::vector<int32_t> ids, places, kinds;
  for (int64_t t = 0; t < kTokens; ++t) {
    ids.push_back(static_cast<int32_t>(random_() % 7));  // each often
    places.push_back(static_cast<int32_t>(t % kPositions));
    kinds.push_back(static_cast<int32_t>(t % kTypes));
  }
  const BatchView batch{ids.data(), places.data(), kinds.data(), nullptr, kTokens, 1};
  GuardedMat got(kTokens, kHidden), want(kTokens, kHidden), d(kTokens, kHidden);
  cpu_.ops().embed(w, batch, got.view());
  ref_.ops().embed(w, batch, want.view());
  expect_near(got, want, 1e-6, "embeddings");
  d.fill(random_);
  for (const bool frozen : {false, true}) {
    std::vector<float> a(words.size() + positions.size() + types.size()), b(a.size());
    for (auto [ops, to] : {std::pair{&cpu_.ops(), &a}, {&ref_.ops(), &b}}) {
      ops->embed_backward(d.view(), batch, frozen ? nullptr : to->data(), to->data() + words.size(),
                          to->data() + words.size() + positions.size());
    }
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-5) << i;
  }
}

TEST_P(TrainOpsTest, LayerNormAndItsGradients) {
  for (const int64_t n : {1, 5, 32, 384}) {
    const int64_t rows = 150;
    const TestNorm norm(random_, n);
    GuardedMat x(rows, n), y(rows, n), want_y(rows, n), d(rows, n), got(rows, n), want(rows, n);
    x.fill(random_, 2);
    d.fill(random_);
    std::vector<float> stats(2 * rows), want_stats(2 * rows);
    cpu_.ops().layer_norm(x.view(), norm.view(), y.view(), stats.data());
    ref_.ops().layer_norm(x.view(), norm.view(), want_y.view(), want_stats.data());
    if (n > 1) expect_near(y, want_y, 2e-5, "layer norm");
    GuardedMat gamma(2, n), want_gamma(2, n);
    gamma.fill(random_);
    want_gamma = gamma;
    cpu_.ops().layer_norm_backward(d.view(), x.view(), want_stats.data(), norm.gamma.data(),
                                   got.view(), gamma.view().row(0), gamma.view().row(1));
    ref_.ops().layer_norm_backward(d.view(), x.view(), want_stats.data(), norm.gamma.data(),
                                   want.view(), want_gamma.view().row(0), want_gamma.view().row(1));
    // With one number the variance is 0 and everything is scaled by 1/sqrt(eps).
    expect_near(got, want, n == 1 ? 1e-2 : 2e-5, "d_x");
    expect_near(gamma, want_gamma, sum_tolerance(rows) * 20, "d_gamma and d_beta");
    // In place, and for a frozen norm.
    cpu_.ops().layer_norm_backward(d.view(), x.view(), want_stats.data(), norm.gamma.data(),
                                   d.view(), nullptr, nullptr);
    expect_near(d, got, 0, "d_x in place");
  }
}

TEST_P(TrainOpsTest, ActivationsAndTheirDerivatives) {
  for (const Activation f :
       {Activation::kGelu, Activation::kTanh, Activation::kRelu, Activation::kNone}) {
    GuardedMat x(40, 67), d(40, 67), got(40, 67), want(40, 67);
    x.fill(random_, 3);
    x.view().row(0)[0] = 30.0f;
    x.view().row(0)[1] = -30.0f;
    x.view().row(0)[2] = 0.0f;
    d.fill(random_);
    cpu_.ops().activate(f, x.view(), got.view());
    ref_.ops().activate(f, x.view(), want.view());
    expect_near(got, want, 3e-6, "activation");
    cpu_.ops().activate_backward(f, x.view(), d.view(), got.view());
    ref_.ops().activate_backward(f, x.view(), d.view(), want.view());
    expect_near(got, want, 4e-6, "derivative");
    cpu_.ops().activate_backward(f, x.view(), d.view(), d.view());
    expect_near(d, got, 0, "in place");
  }
}

TEST_P(TrainOpsTest, NaNStaysNaN) {
  GuardedMat x(1, 9), d(1, 9), got(1, 9);
  x.fill(random_);
  d.fill(random_);
  x.view().row(0)[4] = std::numeric_limits<float>::quiet_NaN();
  for (const Activation f : {Activation::kGelu, Activation::kTanh}) {
    cpu_.ops().activate_backward(f, x.view(), d.view(), got.view());
    EXPECT_TRUE(std::isnan(got.view().row(0)[4]));
  }
}

std::vector<uint32_t> noise_rows(int64_t n) {
  std::vector<uint32_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 70u);
  return out;
}

TEST_P(TrainOpsTest, DropoutDropsTheSameEverywhere) {
  const auto noise = noise_rows(60);
  GuardedMat x(60, 75), r(60, 75), got(60, 75), want(60, 75);
  x.fill(random_);
  r.fill(random_);
  for (const float rate : {0.0f, 0.1f, 0.9f}) {
    const Dropout dropout{rate, 0x123456789abcdef, 5};
    for (const ConstMat residual : {ConstMat(), ConstMat(r.view())}) {
      cpu_.ops().dropout(x.view(), residual, dropout, noise.data(), got.view());
      ref_.ops().dropout(x.view(), residual, dropout, noise.data(), want.view());
      expect_near(got, want, 0, "dropout");
      for (GuardedMat* place : {&x, &r}) {
        GuardedMat in_place = *place;
        if (place == &r && residual.data == nullptr) continue;
        cpu_.ops().dropout(place == &x ? in_place.view() : x.view(),
                           residual.data == nullptr ? residual
                           : place == &r            ? ConstMat(in_place.view())
                                                    : residual,
                           dropout, noise.data(), in_place.view());
        expect_near(in_place, want, 0, "dropout in place");
      }
    }
  }
}

TEST_P(TrainOpsTest, ScaleMultipliesInPlace) {
  GuardedMat got(33, 67);
  got.fill(random_);
  GuardedMat want = got;
  cpu_.ops().scale(got.view(), -0.3f);
  ref_.ops().scale(want.view(), -0.3f);
  expect_near(got, want, 0, "scale");
}

TEST_P(TrainOpsTest, AttentionAndItsGradients) {
  struct Case {
    std::vector<int32_t> lengths;
    int64_t heads, d;
    float rate;
  };
  for (const Case& c : {Case{{1}, 1, 1, 0},
                        {{5, 1, 12}, 3, 7, 0},
                        {{5, 1, 12}, 3, 7, 0.2f},
                        {{40, 17}, 2, 32, 0.1f},
                        {{300}, 1, 64, 0.1f},
                        {{129, 3, 100}, 2, 16, 0}}) {
    std::vector<int32_t> cu = {0};
    for (const int32_t n : c.lengths) cu.push_back(cu.back() + n);
    const int64_t tokens = cu.back(), width = c.heads * c.d;
    GuardedMat q(tokens, width), k(tokens, width), v(tokens, width), d(tokens, width);
    for (GuardedMat* m : {&q, &k, &v, &d}) m->fill(random_);
    const auto noise = noise_rows(tokens);
    TrainAttention a;
    a.q = q.view();
    a.k = k.view();
    a.v = v.view();
    a.cu_seqlens = a.host_cu_seqlens = cu.data();
    a.sequences = static_cast<int64_t>(c.lengths.size());
    a.heads = c.heads;
    a.dropout = {c.rate, 99, 3};
    a.noise_rows = noise.data();
    const std::string what = testing::PrintToString(c.lengths);
    GuardedMat out(tokens, width), want_out(tokens, width);
    cpu_.ops().attention(a, out.view());
    ref_.ops().attention(a, want_out.view());
    expect_near(out, want_out, 1e-5, what + " out");
    GuardedMat got[3] = {{tokens, width}, {tokens, width}, {tokens, width}};
    GuardedMat want[3] = {{tokens, width}, {tokens, width}, {tokens, width}};
    cpu_.ops().attention_backward(a, want_out.view(), d.view(), got[0].view(), got[1].view(),
                                  got[2].view());
    ref_.ops().attention_backward(a, want_out.view(), d.view(), want[0].view(), want[1].view(),
                                  want[2].view());
    const char* names[] = {" d_q", " d_k", " d_v"};
    for (int i = 0; i < 3; ++i) expect_near(got[i], want[i], 4e-5, what + names[i]);
  }
}

TEST_P(TrainOpsTest, RowsAreScatteredAndSpread) {
  GuardedMat x(3, 21), got(40, 21), want(40, 21);
  x.fill(random_);
  const std::vector<int32_t> rows = {4, 11, 39}, cu = {0, 1, 30, 40};
  cpu_.ops().put_rows(x.view(), rows.data(), got.view());
  ref_.ops().put_rows(x.view(), rows.data(), want.view());
  expect_near(got, want, 0, "put_rows");
  cpu_.ops().mean_rows_backward(x.view(), cu.data(), got.view());
  ref_.ops().mean_rows_backward(x.view(), cu.data(), want.view());
  expect_near(got, want, 1e-7, "mean_rows_backward");
}

TEST_P(TrainOpsTest, OptimiserOverAllAndOverSomeRows) {
  constexpr int64_t kRows = 300, kWidth = 131;
  const std::vector<int32_t> some = {0, 5, 6, 299};
  for (const Rows rows : {Rows{nullptr, kRows, kWidth}, {some.data(), 4, kWidth}}) {
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
    auto g2 = g, m2 = m, v2 = v, w2 = w;
    EXPECT_NEAR(
        cpu_.ops().sum_of_squares(g.data(), rows) / ref_.ops().sum_of_squares(g.data(), rows), 1,
        1e-6);
    cpu_.ops().adamw(how, rows, g.data(), m.data(), v.data(), w.data());
    ref_.ops().adamw(how, rows, g2.data(), m2.data(), v2.data(), w2.data());
    for (size_t i = 0; i < w.size(); ++i) {
      ASSERT_NEAR(m[i], m2[i], 1e-6) << i;
      ASSERT_NEAR(v[i], v2[i], 1e-6) << i;
      ASSERT_NEAR(w[i], w2[i], 1e-5) << i;
    }
    cpu_.ops().zero(g.data(), rows);
    ref_.ops().zero(g2.data(), rows);
    EXPECT_EQ(g, g2);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, TrainOpsTest, testing::ValuesIn(device_cases()), case_name);

// ---- ref against differences

/// (f(x + e) - f(x - e)) / 2e for each element of x.
template <class F>
void expect_gradient(GuardedMat& x, const GuardedMat& gradient, const F& f,
                     const std::string& what) {
  constexpr float kStep = 1.0f / 128;
  for (int64_t r = 0; r < x.view().rows; ++r) {
    for (int64_t c = 0; c < x.view().cols; ++c) {
      float& at = x.view().row(r)[c];
      const float before = at;
      at = before + kStep;
      const double up = f();
      at = before - kStep;
      const double down = f();
      at = before;
      ASSERT_NEAR(gradient.view().row(r)[c], (up - down) / (2 * kStep), 3e-3)
          << what << ": row " << r << " column " << c;
    }
  }
}

double weighted(const GuardedMat& y, const GuardedMat& d) {
  double sum = 0;
  for (int64_t r = 0; r < y.view().rows; ++r) {
    for (int64_t c = 0; c < y.view().cols; ++c) {
      sum += static_cast<double>(y.view().row(r)[c]) * d.view().row(r)[c];
    }
  }
  return sum;
}

TEST(RefTrainOps, AttentionsGradientsAreItsDifferences) {
  TrainDevice ref("ref", 1, "");
  std::mt19937 random(1);
  const std::vector<int32_t> cu = {0, 3, 7};
  const auto noise = noise_rows(7);
  for (const float rate : {0.0f, 0.3f}) {
    GuardedMat q(7, 6), k(7, 6), v(7, 6), d(7, 6), out(7, 6), again(7, 6);
    for (GuardedMat* m : {&q, &k, &v, &d}) m->fill(random);
    TrainAttention a;
    a.q = q.view();
    a.k = k.view();
    a.v = v.view();
    a.cu_seqlens = a.host_cu_seqlens = cu.data();
    a.sequences = 2;
    a.heads = 2;
    a.dropout = {rate, 4, 4};
    a.noise_rows = noise.data();
    ref.ops().attention(a, out.view());
    GuardedMat d_q(7, 6), d_k(7, 6), d_v(7, 6);
    ref.ops().attention_backward(a, out.view(), d.view(), d_q.view(), d_k.view(), d_v.view());
    const auto loss = [&] {
      ref.ops().attention(a, again.view());
      return weighted(again, d);
    };
    expect_gradient(q, d_q, loss, "d_q");
    expect_gradient(k, d_k, loss, "d_k");
    expect_gradient(v, d_v, loss, "d_v");
  }
}

TEST(RefTrainOps, LayerNormsGradientsAreItsDifferences) {
  TrainDevice ref("ref", 1, "");
  std::mt19937 random(2);
  GuardedMat x(4, 9), d(4, 9), y(4, 9), d_x(4, 9), gamma(1, 9, 0), beta(1, 9, 0), d_gamma(1, 9),
      d_beta(1, 9);
  for (GuardedMat* m : {&x, &d, &gamma, &beta}) m->fill(random);
  for (GuardedMat* m : {&d_gamma, &d_beta}) std::fill_n(m->view().row(0), 9, 0.0f);
  std::vector<float> stats(8), ignored(8);
  const LayerNormWeights w{gamma.view().row(0), beta.view().row(0), 1e-5f};
  ref.ops().layer_norm(x.view(), w, y.view(), stats.data());
  ref.ops().layer_norm_backward(d.view(), x.view(), stats.data(), w.gamma, d_x.view(),
                                d_gamma.view().row(0), d_beta.view().row(0));
  const auto loss = [&] {
    ref.ops().layer_norm(x.view(), w, y.view(), ignored.data());
    return weighted(y, d);
  };
  expect_gradient(x, d_x, loss, "d_x");
  expect_gradient(gamma, d_gamma, loss, "d_gamma");
  expect_gradient(beta, d_beta, loss, "d_beta");
}

TEST(RefTrainOps, DerivativesAreDifferences) {
  TrainDevice ref("ref", 1, "");
  std::mt19937 random(3);
  for (const Activation f : {Activation::kGelu, Activation::kTanh, Activation::kNone}) {
    GuardedMat x(5, 9), d(5, 9), d_x(5, 9), y(5, 9);
    x.fill(random);
    d.fill(random);
    ref.ops().activate_backward(f, x.view(), d.view(), d_x.view());
    expect_gradient(
        x, d_x,
        [&] {
          ref.ops().activate(f, x.view(), y.view());
          return weighted(y, d);
        },
        "derivative");
  }
}

TEST(RefTrainOps, DropoutKeepsTheRateAndTheMean) {
  TrainDevice ref("ref", 1, "");
  GuardedMat x(200, 500), y(200, 500);
  for (int64_t r = 0; r < 200; ++r) std::fill_n(x.view().row(r), 500, 1.0f);
  const auto noise = noise_rows(200);
  ref.ops().dropout(x.view(), {}, {0.1f, 77, 1}, noise.data(), y.view());
  double dropped = 0, sum = 0;
  for (int64_t r = 0; r < 200; ++r) {
    for (int64_t c = 0; c < 500; ++c) {
      dropped += y.view().row(r)[c] == 0 ? 1 : 0;
      sum += y.view().row(r)[c];
    }
  }
  EXPECT_NEAR(dropped / 100000, 0.1, 0.003);  // 3 standard deviations
  EXPECT_NEAR(sum / 100000, 1.0, 0.004);
}

// Reference values of Philox 4x32-10 [Random123's kat_vectors].
TEST(Philox, EqualsThePublishedVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace tamis
