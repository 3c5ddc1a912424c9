// Every op of the cpu device against the ref device, on each instruction set that this machine has.
// Tolerances follow from f32 arithmetic: a sum of k products of normal numbers errs by about
// sqrt(k) 2^-24 times its size; the bounds allow 8 times that.

#include <algorithm>
#include <numeric>

#include "ops_fixture.h"
#include "tamis/error.h"

namespace tamis {
namespace {

class OpsTest : public testing::TestWithParam<DeviceCase> {
 protected:
  TestDevice cpu_{"cpu", GetParam().threads, GetParam().isa};
  TestDevice ref_{"ref", 1, ""};
  std::mt19937 random_{20261122};
};

double sum_tolerance(int64_t k) { return 8 * std::sqrt(static_cast<double>(k)) * 0x1p-24 * 4; }

TEST_P(OpsTest, RunsTheInstructionSetThatWasAskedFor) {
  EXPECT_EQ(cpu_.device().info().isa, GetParam().isa);
}

TEST_P(OpsTest, LinearEqualsRefOnRaggedShapes) {
  struct Size {
    int64_t rows, in, out;
  };
  for (const Size s : {Size{0, 8, 8},
                       {1, 1, 1},
                       {1, 7, 3},
                       {2, 33, 17},
                       {5, 64, 31},
                       {6, 64, 32},
                       {7, 64, 33},
                       {13, 100, 47},
                       {49, 65, 40},
                       {97, 48, 129},
                       {3, 1030, 24},
                       {60, 1100, 70}}) {
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (Activation activation :
           {Activation::kNone, Activation::kGelu, Activation::kTanh, Activation::kRelu}) {
        const Stored weight("w", {s.out, s.in}, dtype, random_values(random_, s.out * s.in));
        const Stored bias("b", {s.out}, dtype, random_values(random_, s.out));
        const LinearSource source{{&weight.view}, {&bias.view}};
        GuardedMat x(s.rows, s.in), got(s.rows, s.out), want(s.rows, s.out);
        x.fill(random_);
        // The weights stay in their storage type, or are packed as f32.
        for (DType packed : {DType::kF32, dtype}) {
          cpu_.ops().linear(cpu_.pack(source, packed), x.view(), activation, got.view());
          ref_.ops().linear(ref_.pack(source, packed), x.view(), activation, want.view());
          const double scale = 1 + std::sqrt(static_cast<double>(s.in));
          expect_near(got, want, sum_tolerance(s.in) * scale,
                      testing::PrintToString(std::vector<int64_t>{s.rows, s.in, s.out}));
        }
      }
    }
  }
}

TEST_P(OpsTest, LinearStacksWeightsAndTakesAbsentBiasesForZero) {
  const Stored a("a", {5, 9}, DType::kF32, random_values(random_, 45));
  const Stored b("b", {20, 9}, DType::kF16, random_values(random_, 180));
  const Stored bias("bias", {20}, DType::kF32, random_values(random_, 20));
  const LinearSource source{{&a.view, &b.view}, {nullptr, &bias.view}};
  GuardedMat x(4, 9), got(4, 25), want(4, 25);
  x.fill(random_);
  cpu_.ops().linear(cpu_.pack(source), x.view(), Activation::kNone, got.view());
  ref_.ops().linear(ref_.pack(source), x.view(), Activation::kNone, want.view());
  expect_near(got, want, 1e-5, "stack");
}

TEST_P(OpsTest, LinearOfARowDoesNotDependOnTheOtherRows) {
  const Stored weight("w", {70, 130}, DType::kF32, random_values(random_, 70 * 130));
  const PackedLinear packed = cpu_.pack({{&weight.view}, {nullptr}});
  GuardedMat x(53, 130), together(53, 70);
  x.fill(random_);
  cpu_.ops().linear(packed, x.view(), Activation::kGelu, together.view());
  for (int64_t r = 0; r < 53; ++r) {
    GuardedMat alone(1, 70);
    cpu_.ops().linear(packed, x.view().row_range(r, r + 1), Activation::kGelu, alone.view());
    for (int64_t c = 0; c < 70; ++c) {
      ASSERT_EQ(alone.view().row(0)[c], together.view().row(r)[c]) << "row " << r;
    }
  }
}

TEST_P(OpsTest, PackingNamesTheTensorAndElementThatIsNotFinite) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    for (TestDevice* device : {&cpu_, &ref_}) {
      std::vector<float> values = random_values(random_, 6 * 11);
      values[40] = bad;
      const Stored weight("encoder.w", {6, 11}, DType::kF32, values);
      try {
        device->pack({{&weight.view}, {nullptr}});
        FAIL() << "not refused";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
        EXPECT_NE(std::string(error.what()).find("encoder.w [6, 11]: element 40"),
                  std::string::npos)
            << error.what();
      }
    }
  }
}

TEST_P(OpsTest, PackingTo16BitsRoundsAsTheReferenceDoes) {
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    const Stored weight("w", {37, 70}, DType::kF32, random_values(random_, 37 * 70));
    GuardedMat x(5, 70), got(5, 37), want(5, 37);
    x.fill(random_);
    cpu_.ops().linear(cpu_.pack({{&weight.view}, {nullptr}}, dtype), x.view(), Activation::kNone,
                      got.view());
    ref_.ops().linear(ref_.pack({{&weight.view}, {nullptr}}, dtype), x.view(), Activation::kNone,
                      want.view());
    // A weight rounded the other way would show as 2^-12 (f16) or 2^-9 (bf16) of a product.
    expect_near(got, want, 2e-5, std::string(name_of(dtype)));
  }
}

TEST_P(OpsTest, AWeightThatF16CannotHoldIsNamed) {
  std::vector<float> values = random_values(random_, 6 * 11);
  values[40] = 70000.0f;
  const Stored weight("encoder.w", {6, 11}, DType::kF32, values);
  for (TestDevice* device : {&cpu_, &ref_}) {
    EXPECT_NO_THROW(device->pack({{&weight.view}, {nullptr}}, DType::kBF16));
    try {
      device->pack({{&weight.view}, {nullptr}}, DType::kF16);
      FAIL() << "not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
      EXPECT_NE(std::string(error.what()).find("encoder.w [6, 11]: element 40 is 70000"),
                std::string::npos)
          << error.what();
    }
  }
}

TEST_P(OpsTest, AttentionEqualsRefOnRaggedSequences) {
  struct Size {
    std::vector<int32_t> lengths;
    int64_t heads, head_dim;
    float scale;
  };
  const std::vector<Size> sizes = {
      {{1}, 1, 1, 1},       {{1, 2, 3}, 2, 8, 1}, {{16, 1, 33, 7}, 3, 24, 1},
      {{31, 65}, 2, 32, 3}, {{48, 5}, 4, 64, 1},  {{511, 512, 513}, 1, 16, 2},
      {{1200}, 2, 64, 5}};
  for (const Size& size : sizes) {
    std::vector<int32_t> cu{0};
    for (int32_t length : size.lengths) cu.push_back(cu.back() + length);
    const int64_t tokens = cu.back(), width = size.heads * size.head_dim;
    GuardedMat q(tokens, width), k(tokens, width), v(tokens, width), got(tokens, width),
        want(tokens, width);
    AttentionView a{q.fill(random_, size.scale).view(),
                    k.fill(random_).view(),
                    v.fill(random_).view(),
                    cu.data(),
                    cu.data(),
                    static_cast<int64_t>(size.lengths.size()),
                    size.heads};
    cpu_.ops().attention(a, got.view());
    ref_.ops().attention(a, want.view());
    expect_near(got, want, 2e-5, testing::PrintToString(size.lengths));
  }
}

TEST_P(OpsTest, AttentionInBf16IsNearRef) {
  struct Size {
    std::vector<int32_t> lengths;
    int64_t heads, head_dim;
    float scale;
  };
  const std::vector<Size> sizes = {
      {{1}, 1, 1, 1},       {{1, 2, 3}, 2, 8, 1},        {{16, 1, 33, 7}, 3, 24, 1},
      {{31, 65}, 2, 32, 3}, {{511, 512, 513}, 1, 16, 2}, {{1200}, 2, 64, 5},
      {{70}, 1, 80, 1},     {{1024, 5}, 1, 128, 1}};
  for (const Size& size : sizes) {
    std::vector<int32_t> cu{0};
    for (int32_t length : size.lengths) cu.push_back(cu.back() + length);
    const int64_t tokens = cu.back(), width = size.heads * size.head_dim;
    GuardedMat q(tokens, width), k(tokens, width), v(tokens, width), got(tokens, width),
        want(tokens, width);
    AttentionView a{q.fill(random_, size.scale).view(),
                    k.fill(random_).view(),
                    v.fill(random_).view(),
                    cu.data(),
                    cu.data(),
                    static_cast<int64_t>(size.lengths.size()),
                    size.heads,
                    DType::kI8};
    cpu_.ops().attention(a, got.view());
    ref_.ops().attention(a, want.view());
    // Operands have 8 bits: a score of magnitude s moves by s / 256 at most, and so does its
    // weight.
    expect_near(got, want, 1e-2 * size.scale, testing::PrintToString(size.lengths));
  }
}

TEST_P(OpsTest, AttentionInBf16OfOneQueryRowEqualsThatRowOfAll) {
  const std::vector<int32_t> cu{0, 40, 47}, one{0, 1, 2}, rows{0, 40};
  GuardedMat q(47, 48), k(47, 48), v(47, 48), all(47, 48), first(2, 48), selected(2, 48);
  AttentionView a{q.fill(random_).view(),
                  k.fill(random_).view(),
                  v.fill(random_).view(),
                  cu.data(),
                  cu.data(),
                  2,
                  3,
                  DType::kI8};
  cpu_.ops().attention(a, all.view());
  cpu_.ops().gather_rows(q.view(), rows.data(), first.view());
  a.q = first.view();
  a.cu_queries = one.data();
  cpu_.ops().attention(a, selected.view());
  GuardedMat want(2, 48);
  cpu_.ops().gather_rows(all.view(), rows.data(), want.view());
  expect_near(selected, want, 1e-6, "one row");
}

TEST_P(OpsTest, AttentionInBf16KeepsNaN) {
  const std::vector<int32_t> cu{0, 40};
  GuardedMat q(40, 64), k(40, 64), v(40, 64), out(40, 64);
  v.fill(random_);
  v.view().row(17)[5] = std::numeric_limits<float>::quiet_NaN();
  AttentionView a{q.fill(random_).view(),
                  k.fill(random_).view(),
                  v.view(),
                  cu.data(),
                  cu.data(),
                  1,
                  1,
                  DType::kI8};
  cpu_.ops().attention(a, out.view());
  for (int64_t r = 0; r < 40; ++r) {
    EXPECT_TRUE(std::isnan(out.view().row(r)[5])) << "row " << r;
    EXPECT_FALSE(std::isnan(out.view().row(r)[6])) << "row " << r;
  }
}

TEST_P(OpsTest, AttentionOfOneQueryRowEqualsThatRowOfAll) {
  const std::vector<int32_t> cu{0, 40, 47}, one{0, 1, 2}, rows{0, 40};
  GuardedMat q(47, 48), k(47, 48), v(47, 48), all(47, 48), first(2, 48), selected(2, 48);
  AttentionView a{q.fill(random_).view(),
                  k.fill(random_).view(),
                  v.fill(random_).view(),
                  cu.data(),
                  cu.data(),
                  2,
                  3};
  cpu_.ops().attention(a, all.view());
  cpu_.ops().gather_rows(q.view(), rows.data(), first.view());
  a.q = first.view();
  a.cu_queries = one.data();
  cpu_.ops().attention(a, selected.view());
  GuardedMat want(2, 48);
  cpu_.ops().gather_rows(all.view(), rows.data(), want.view());
  expect_near(selected, want, 1e-6, "one row");
}

TEST_P(OpsTest, AttentionSurvivesLargeScores) {
  const std::vector<int32_t> cu{0, 600};
  GuardedMat q(600, 16), k(600, 16), v(600, 16), got(600, 16), want(600, 16);
  AttentionView a{q.fill(random_, 60).view(),
                  k.fill(random_, 60).view(),
                  v.fill(random_).view(),
                  cu.data(),
                  cu.data(),
                  1,
                  1};
  cpu_.ops().attention(a, got.view());
  ref_.ops().attention(a, want.view());
  // Scores of some 10,000 are rounded to 2^-10: probabilities of near ties move by that much.
  expect_near(got, want, 2e-2, "large scores");
}

TEST_P(OpsTest, LayerNormEqualsRef) {
  for (int64_t n : {1, 2, 7, 16, 33, 384, 1024}) {
    for (float shift : {0.0f, 30.0f}) {
      GuardedMat x(5, n), residual(5, n), got(5, n), want(5, n);
      x.fill(random_);
      residual.fill(random_);
      for (int64_t c = 0; c < n; ++c) x.view().row(2)[c] += shift;
      const TestNorm norm(random_, n);
      const LayerNormWeights w = norm.view();
      cpu_.ops().add_layer_norm(x.view(), residual.view(), w, got.view());
      ref_.ops().add_layer_norm(x.view(), residual.view(), w, want.view());
      // n = 1, 2: the variance may be tiny, and 1/sqrt(eps) enlarges the rounding of x + r.
      expect_near(got, want, n < 4 ? 5e-3 : 1e-4, std::to_string(n));
      cpu_.ops().add_layer_norm(x.view(), residual.view(), w, x.view());  // in place
      expect_near(x, got, 0, "in place");
    }
  }
}

TEST_P(OpsTest, EmbeddingEqualsRefInEachStorageType) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const int64_t hidden = 37;
    const Stored words("words", {50, hidden}, dtype, random_values(random_, 50 * hidden));
    const TestNorm norm(random_, hidden);
    const auto positions_table = random_values(random_, 9 * hidden);
    const auto types_table = random_values(random_, 2 * hidden);
    const EmbeddingWeights w{
        words.view.bytes.data(), dtype, 50,         hidden, positions_table.data(), 9,
        types_table.data(),      2,     norm.view()};
    const std::vector<int32_t> ids{0, 49, 7, 7, 13}, positions{0, 1, 2, 8, 3}, types{0, 1, 1, 0, 0},
        cu{0, 5};
    const BatchView batch{ids.data(), positions.data(), types.data(), cu.data(), 5, 1};
    GuardedMat got(5, hidden), want(5, hidden);
    cpu_.ops().embed_layer_norm(w, batch, got.view());
    ref_.ops().embed_layer_norm(w, batch, want.view());
    expect_near(got, want, 1e-5, std::string(name_of(dtype)));
  }
}

TEST_P(OpsTest, PoolingEqualsRef) {
  const std::vector<int32_t> cu{0, 1, 4, 300};
  GuardedMat x(300, 45), got(3, 45), want(3, 45);
  x.fill(random_);
  cpu_.ops().mean_rows(x.view(), cu.data(), got.view());
  ref_.ops().mean_rows(x.view(), cu.data(), want.view());
  expect_near(got, want, 1e-6, "mean");
  cpu_.ops().l2_normalize(got.view());
  ref_.ops().l2_normalize(want.view());
  expect_near(got, want, 1e-6, "normalize");
}

TEST_P(OpsTest, LayerNormWithoutAResidualEqualsRef) {
  GuardedMat x(5, 45), got(5, 45), want(5, 45);
  x.fill(random_);
  const TestNorm norm(random_, 45);
  cpu_.ops().add_layer_norm(x.view(), {}, norm.view(), got.view());
  ref_.ops().add_layer_norm(x.view(), {}, norm.view(), want.view());
  expect_near(got, want, 1e-4, "no residual");
}

TEST_P(OpsTest, LargestOfEachColumnEqualsRef) {
  for (const int64_t cols : {1, 45, 4097, 9000}) {
    for (const int64_t rows : {1, 2, 33}) {
      GuardedMat x(rows, cols), more(rows, cols), got(1, cols), want(1, cols);
      x.fill(random_);
      more.fill(random_);
      for (const auto& [ops, y] :
           {std::pair{&cpu_.ops(), got.view()}, {&ref_.ops(), want.view()}}) {
        ops->max_rows(x.view(), false, y);
        ops->max_rows(more.view(), true, y);
      }
      expect_near(got, want, 0, std::to_string(rows) + " x " + std::to_string(cols));
      float largest = x.view().row(0)[0];
      for (const GuardedMat* m : {&x, &more}) {
        for (int64_t r = 0; r < rows; ++r) largest = std::max(largest, m->view().row(r)[0]);
      }
      EXPECT_EQ(want.view().row(0)[0], largest);
    }
  }
}

TEST_P(OpsTest, ANanIsTheLargest) {
  for (const int64_t at : {0, 1, 2}) {
    GuardedMat x(3, 9), y(1, 9);
    x.fill(random_);
    x.view().row(at)[4] = std::nanf("");
    cpu_.ops().max_rows(x.view(), false, y.view());
    EXPECT_TRUE(std::isnan(y.view().row(0)[4])) << at;
    EXPECT_FALSE(std::isnan(y.view().row(0)[3])) << at;
  }
}

TEST_P(OpsTest, NormalizingAZeroVectorLeavesZeros) {
  GuardedMat x(1, 9), zero(1, 9);
  std::fill_n(x.view().row(0), 9, 0.0f);
  std::fill_n(zero.view().row(0), 9, 0.0f);
  cpu_.ops().l2_normalize(x.view());
  expect_near(x, zero, 0, "zero");
}

TEST_P(OpsTest, GatherMayWriteToTheHeadOfItsInput) {
  GuardedMat x(10, 6);
  x.fill(random_);
  const GuardedMat before = x;
  const std::vector<int32_t> rows{0, 3, 4, 9};
  cpu_.ops().gather_rows(x.view(), rows.data(), x.view().row_range(0, 4));
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(std::equal(x.view().row(static_cast<int64_t>(i)),
                           x.view().row(static_cast<int64_t>(i)) + 6, before.view().row(rows[i])));
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpsTest, testing::ValuesIn(device_cases()), case_name);

}  // namespace
}  // namespace tamis
