// Every op of the CUDA backend against the ref device: the host code as it is compiled for a card,
// its kernels emulated, cublasLt and the runtime faked. Warps run ahead of one another in both
// orders. Tolerances: f32 as in tests/ops; a product of numbers of 11 (f16) or 8 (bf16) bits errs
// by about sqrt(k) 2^-11 or 2^-8 of its terms, and the bounds allow 4 times that.

#include <algorithm>

#include "../ops/ops_fixture.h"
#include "on_card.h"

namespace tamis {
namespace {

struct CardCase {
  std::string name;
  int capability;
  bool last_warp_first;
  std::string options;

  friend void PrintTo(const CardCase& card, std::ostream* out) { *out << card.name; }
};

/// With scratch, and packed layers.
class OpsOnCard : public OnCard {
 public:
  explicit OpsOnCard(const std::string& options) : OnCard(options) {
    // Little, so that plain attention takes its queries in several steps.
    ops().set_scratch(allocate(device().scratch_bytes({120, 1032, 128, DType::kF16, 4}, {})));
  }
  Ops& ops() { return stream().ops(); }

  PackedLinear pack(const LinearSource& source, DType dtype) {
    PackedLinear out;
    for (const TensorView* w : source.weights) out.out_features += w->shape[0];
    out.in_features = source.weights[0]->shape[1];
    out.dtype = dtype;
    out.bytes = device().linear_bytes(out.in_features, out.out_features, dtype);
    std::vector<std::byte> bytes(out.bytes);
    ops().pack_linear(source, dtype, bytes.data());
    out.data = put_bytes(bytes.data(), bytes.size());
    return out;
  }
};

class CudaOpsTest : public testing::TestWithParam<CardCase> {
 protected:
  CudaOpsTest() : machine_(1, size_t{1} << 30, GetParam().capability) {
    emulation::settings().last_warp_first = GetParam().last_warp_first;
    card_ = std::make_unique<OpsOnCard>(GetParam().options);
  }
  /// Whether attention has a kernel of its own for 16 bits here.
  bool fused() const { return GetParam().capability >= 80 && GetParam().options.empty(); }

  FakeMachine machine_;
  std::unique_ptr<OpsOnCard> card_;
  TestDevice ref_{"ref", 1, ""};
  std::mt19937 random_{20261127};
};

double sum_tolerance(int64_t k, DType dtype) {
  const double unit = dtype == DType::kF32 ? 0x1p-24 * 8 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
  return 4 * std::sqrt(static_cast<double>(k)) * unit * (dtype == DType::kF32 ? 1 + k / 4.0 : 1);
}

TEST_P(CudaOpsTest, LinearEqualsRefOnRaggedShapes) {
  struct Size {
    int64_t rows, in, out;
  };
  for (const Size s : {Size{1, 1, 1},
                       {0, 8, 8},
                       {2, 33, 17},
                       {5, 64, 31},
                       {7, 48, 8},
                       {6, 64, 32},
                       {13, 104, 47},
                       {3, 1032, 24},
                       {40, 40, 2}}) {
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (Activation activation :
           {Activation::kNone, Activation::kGelu, Activation::kTanh, Activation::kRelu}) {
        const Stored weight("w", {s.out, s.in}, dtype, random_values(random_, s.out * s.in));
        const Stored bias("b", {s.out}, DType::kF32, random_values(random_, s.out));
        const LinearSource source{{&weight.view}, {&bias.view}};
        GuardedMat x(s.rows, s.in, 4), got(s.rows, s.out), want(s.rows, s.out);
        x.fill(random_);
        const Mat y = card_->put(got);
        card_->ops().linear(card_->pack(source, dtype), card_->put(x), activation, y);
        card_->get(y, got);
        ref_.ops().linear(ref_.pack(source, dtype), x.view(), activation, want.view());
        expect_near(got, want, sum_tolerance(s.in, dtype),
                    testing::PrintToString(std::vector<int64_t>{s.rows, s.in, s.out}) +
                        std::string(name_of(dtype)));
      }
    }
  }
}

TEST_P(CudaOpsTest, GeluIsTheErfForm) {
  // The tanh form differs by up to 5e-4, most around 2.
  const Stored weight("w", {8, 8}, DType::kF32, [] {
    std::vector<float> eye(64);
    for (size_t i = 0; i < 8; ++i) eye[i * 9] = 1;
    return eye;
  }());
  const LinearSource source{{&weight.view}, {nullptr}};
  GuardedMat x(1, 8), got(1, 8), want(1, 8);
  for (int64_t c = 0; c < 8; ++c) x.view().row(0)[c] = 0.7f * static_cast<float>(c) - 2.7f;
  const Mat y = card_->put(got);
  card_->ops().linear(card_->pack(source, DType::kF32), card_->put(x), Activation::kGelu, y);
  card_->get(y, got);
  ref_.ops().linear(ref_.pack(source), x.view(), Activation::kGelu, want.view());
  expect_near(got, want, 1e-6, "gelu");
}

TEST_P(CudaOpsTest, LayerNormEqualsRefAlsoInPlaceAndWithoutAResidual) {
  for (int64_t n : {1, 7, 33, 129, 384}) {
    GuardedMat x(5, n), residual(5, n), got(5, n), want(5, n);
    x.fill(random_);
    residual.fill(random_);
    const TestNorm norm(random_, n);
    const LayerNormWeights w{card_->put(norm.gamma), card_->put(norm.beta), 1e-5f};
    const Mat r = card_->put(residual), on = card_->put(x);
    for (const bool with : {true, false}) {
      const Mat y = card_->put(got);
      card_->ops().add_layer_norm(on, with ? ConstMat(r) : ConstMat(), w, y);
      card_->get(y, got);
      ref_.ops().add_layer_norm(x.view(), with ? ConstMat(residual.view()) : ConstMat(),
                                norm.view(), want.view());
      expect_near(got, want, n < 4 ? 5e-3 : 1e-4, std::to_string(n));
    }
    ref_.ops().add_layer_norm(x.view(), residual.view(), norm.view(), want.view());
    const Mat copy = card_->put(x);
    card_->ops().add_layer_norm(copy, r, w, copy);  // y is x
    card_->get(copy, got);
    expect_near(got, want, n < 4 ? 5e-3 : 1e-4, "in place of x");
    card_->ops().add_layer_norm(on, r, w, r);  // y is the residual
    card_->get(r, got);
    expect_near(got, want, n < 4 ? 5e-3 : 1e-4, "in place of the residual");
  }
}

TEST_P(CudaOpsTest, EmbeddingEqualsRefInEachStorageType) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const int64_t hidden = 37;
    const Stored words("words", {50, hidden}, dtype, random_values(random_, 50 * hidden));
    const TestNorm norm(random_, hidden);
    const auto positions_table = random_values(random_, 9 * hidden);
    const auto types_table = random_values(random_, 2 * hidden);
    EmbeddingWeights w{
        words.view.bytes.data(), dtype, 50,         hidden, positions_table.data(), 9,
        types_table.data(),      2,     norm.view()};
    const std::vector<int32_t> ids{0, 49, 7, 7, 13}, positions{0, 1, 2, 8, 3}, types{0, 1, 1, 0, 0},
        cu{0, 5};
    GuardedMat got(5, hidden), want(5, hidden);
    ref_.ops().embed_layer_norm(w, {ids.data(), positions.data(), types.data(), cu.data(), 5, 1},
                                want.view());
    w.words = card_->put_bytes(words.view.bytes.data(), words.view.bytes.size());
    w.positions = card_->put(positions_table);
    w.types = card_->put(types_table);
    w.norm = {card_->put(norm.gamma), card_->put(norm.beta), 1e-5f};
    const Mat y = card_->put(got);
    card_->ops().embed_layer_norm(
        w, {card_->put(ids), card_->put(positions), card_->put(types), card_->put(cu), 5, 1}, y);
    card_->get(y, got);
    expect_near(got, want, 1e-5, std::string(name_of(dtype)));
  }
}

struct AttentionCase {
  std::vector<int32_t> lengths;
  int64_t heads, head_dim;
  float scale;
};

TEST_P(CudaOpsTest, AttentionEqualsRefOnRaggedSequences) {
  const std::vector<AttentionCase> sizes = {
      {{1}, 1, 1, 1},       {{1, 2, 3}, 2, 8, 1},     {{16, 1, 33, 7}, 3, 24, 1},
      {{31, 65}, 2, 32, 3}, {{64, 5, 128}, 2, 64, 1}, {{1, 129}, 1, 128, 1},
      {{190}, 2, 64, 5}};
  for (const AttentionCase& size : sizes) {
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      std::vector<int32_t> cu{0};
      for (int32_t length : size.lengths) cu.push_back(cu.back() + length);
      const int64_t tokens = cu.back(), width = size.heads * size.head_dim;
      GuardedMat q(tokens, width), k(tokens, width, 4), v(tokens, width, 4), got(tokens, width),
          want(tokens, width);
      const auto sequences = static_cast<int64_t>(size.lengths.size());
      AttentionView a{q.fill(random_, size.scale).view(),
                      k.fill(random_).view(),
                      v.fill(random_).view(),
                      cu.data(),
                      cu.data(),
                      sequences,
                      size.heads};
      ref_.ops().attention(a, want.view());
      const int32_t* on = card_->put(cu);
      a = {card_->put(q), card_->put(k), card_->put(v), on,        on,
           sequences,     size.heads,    dtype,         cu.data(), cu.data()};
      const Mat y = card_->put(got);
      card_->ops().attention(a, y);
      card_->get(y, got);
      const bool narrow = dtype != DType::kF32 && fused() && size.head_dim % 32 == 0;
      const double tolerance = !narrow                 ? 2e-5
                               : dtype == DType::kBF16 ? 1e-2 * size.scale
                                                       : 1.5e-3 * size.scale;
      expect_near(got, want, tolerance,
                  testing::PrintToString(size.lengths) + std::string(name_of(dtype)));
    }
  }
}

TEST_P(CudaOpsTest, AttentionTakesItsKernelWhereTheCardHasOne) {
  const std::vector<int32_t> cu{0, 3};
  GuardedMat q(3, 64), out(3, 64);
  const Mat on = card_->put(q.fill(random_));
  const int32_t* bounds = card_->put(cu);
  machine_.fake().reset_counters();
  card_->ops().attention({on, on, on, bounds, bounds, 1, 1, DType::kF16, cu.data(), cu.data()},
                         card_->put(out));
  card_->get(on, q);
  EXPECT_EQ(machine_.counts().launches["tamis_attention_64"], fused() ? 1 : 0);
  EXPECT_EQ(machine_.counts().launches["tamis_softmax_rows"], fused() ? 0 : 1);
}

TEST_P(CudaOpsTest, AttentionOfOneQueryRowEqualsThatRowOfAll) {
  const std::vector<int32_t> cu{0, 40, 47}, one{0, 1, 2}, rows{0, 40};
  for (DType dtype : {DType::kF32, DType::kF16}) {
    GuardedMat q(47, 64), k(47, 64), v(47, 64), all(47, 64), first(2, 64), selected(2, 64),
        want(2, 64);
    AttentionView a{card_->put(q.fill(random_)),
                    card_->put(k.fill(random_)),
                    card_->put(v.fill(random_)),
                    card_->put(cu),
                    card_->put(cu),
                    2,
                    2,
                    dtype,
                    cu.data(),
                    cu.data()};
    const Mat whole = card_->put(all), some = card_->put(selected), head = card_->put(first);
    card_->ops().attention(a, whole);
    const int32_t* picked = card_->put(rows);
    card_->ops().gather_rows(a.q, picked, head);
    a.q = head;
    a.cu_queries = card_->put(one);
    a.host_queries = one.data();
    card_->ops().attention(a, some);
    const Mat expected = card_->put(want);
    card_->ops().gather_rows(whole, picked, expected);
    card_->get(some, selected);
    card_->get(expected, want);
    expect_near(selected, want, 1e-6, "one row");
  }
}

TEST_P(CudaOpsTest, AttentionKeepsNaN) {
  const std::vector<int32_t> cu{0, 40};
  for (DType dtype : {DType::kF32, DType::kF16}) {
    GuardedMat q(40, 64), k(40, 64), v(40, 64), out(40, 64);
    v.fill(random_);
    v.view().row(17)[5] = std::nanf("");
    const int32_t* bounds = card_->put(cu);
    const Mat y = card_->put(out);
    card_->ops().attention({card_->put(q.fill(random_)), card_->put(k.fill(random_)), card_->put(v),
                            bounds, bounds, 1, 1, dtype, cu.data(), cu.data()},
                           y);
    card_->get(y, out);
    for (int64_t r = 0; r < 40; ++r) {
      ASSERT_TRUE(std::isnan(out.view().row(r)[5])) << "row " << r;
      ASSERT_FALSE(std::isnan(out.view().row(r)[6])) << "row " << r;
    }
  }
}

/// Other numbers around an input than around an output: a column too many would show.
void change_guards(GuardedMat& m) {
  const float guard = m.values()[0];
  std::replace(m.values().begin(), m.values().end(), guard, 77.0f);
}

TEST_P(CudaOpsTest, PoolingEqualsRef) {
  const std::vector<int32_t> cu{0, 1, 4, 300};
  GuardedMat x(300, 150), got(3, 150), want(3, 150);
  change_guards(x.fill(random_));
  const Mat y = card_->put(got);
  card_->ops().mean_rows(card_->put(x), card_->put(cu), y);
  card_->ops().l2_normalize(y);
  card_->get(y, got);
  ref_.ops().mean_rows(x.view(), cu.data(), want.view());
  ref_.ops().l2_normalize(want.view());
  expect_near(got, want, 1e-6, "mean");
}

TEST_P(CudaOpsTest, NormalizingAZeroVectorLeavesZeros) {
  GuardedMat x(1, 9), zero(1, 9);
  for (GuardedMat* m : {&x, &zero}) std::fill_n(m->view().row(0), 9, 0.0f);
  const Mat y = card_->put(x);
  card_->ops().l2_normalize(y);
  card_->get(y, x);
  expect_near(x, zero, 0, "zero");
}

TEST_P(CudaOpsTest, LargestOfEachColumnEqualsRefAndANanIsTheLargest) {
  for (const int64_t rows : {1, 2, 33}) {
    GuardedMat x(rows, 300), more(rows, 300), got(1, 300), want(1, 300);
    x.fill(random_);
    more.fill(random_);
    const Mat y = card_->put(got), on = card_->put(x), on_more = card_->put(more);
    card_->ops().max_rows(on, false, y);
    card_->ops().max_rows(on_more, true, y);
    card_->get(y, got);
    ref_.ops().max_rows(x.view(), false, want.view());
    ref_.ops().max_rows(more.view(), true, want.view());
    expect_near(got, want, 0, std::to_string(rows));
    x.view().row(rows - 1)[4] = std::nanf("");
    card_->ops().max_rows(card_->put(x), false, y);
    card_->ops().max_rows(on_more, true, y);
    card_->get(y, got);
    EXPECT_TRUE(std::isnan(got.view().row(0)[4]));
    EXPECT_FALSE(std::isnan(got.view().row(0)[3]));
  }
}

TEST_P(CudaOpsTest, GatherTakesTheRowsInTheirOrder) {
  const std::vector<int32_t> rows{9, 0, 0, 4};
  GuardedMat x(10, 200), got(4, 200), want(4, 200);
  change_guards(x.fill(random_));
  const Mat y = card_->put(got);
  card_->ops().gather_rows(card_->put(x), card_->put(rows), y);
  card_->get(y, got);
  ref_.ops().gather_rows(x.view(), rows.data(), want.view());
  expect_near(got, want, 0, "gather");
}

TEST_P(CudaOpsTest, GatherMayWriteToTheHeadOfItsInput) {
  GuardedMat x(10, 200);
  x.fill(random_);
  const GuardedMat before = x;
  const std::vector<int32_t> rows{0, 3, 4, 9};
  const Mat on = card_->put(x);
  card_->ops().gather_rows(on, card_->put(rows), on.row_range(0, 4));
  card_->get(on, x);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(std::equal(x.view().row(static_cast<int64_t>(i)),
                           x.view().row(static_cast<int64_t>(i)) + 200,
                           before.view().row(rows[i])));
  }
  x.expect_guards_intact("gather");
}

INSTANTIATE_TEST_SUITE_P(Cards, CudaOpsTest,
                         testing::Values(CardCase{"sm80", 80, false, ""},
                                         CardCase{"sm80_last_warp_first", 80, true, ""},
                                         CardCase{"sm75", 75, false, ""},
                                         CardCase{"plain", 90, true, "attention=plain"}),
                         [](const auto& card) { return card.param.name; });

}  // namespace
}  // namespace tamis
