// int8 layers: the integer products bit for bit against a scalar reference, the quantisation of
// rows against its definition, whole layers against the ref device, on each instruction set.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/kernels.h"
#include "numeric/quantization.h"
#include "ops_fixture.h"

namespace tamis {
namespace {

using kernels::Int8Panel;
using kernels::KernelTable;

/// A layer of given integers, run by a table's own functions.
struct IntegerLayer {
  int64_t rows, inputs, outputs;
  std::vector<uint8_t> a;  // [rows][inputs]
  std::vector<int8_t> w;   // [outputs][inputs]
  std::vector<kernels::RowScale> scales;

  IntegerLayer(int64_t r, int64_t in, int64_t out)
      : rows(r),
        inputs(in),
        outputs(out),
        a(static_cast<size_t>(r * in)),
        w(static_cast<size_t>(out * in)),
        scales(static_cast<size_t>(r), {1.0f, 0}) {}

  std::vector<float> expected() const {
    std::vector<float> out(static_cast<size_t>(rows * outputs));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < outputs; ++o) {
        int64_t sum = 0;
        for (int64_t i = 0; i < inputs; ++i) {
          const int64_t q = a[static_cast<size_t>(r * inputs + i)];
          sum += (q - scales[static_cast<size_t>(r)].zero) * w[static_cast<size_t>(o * inputs + i)];
        }
        EXPECT_LT(std::abs(sum), int64_t{1} << 31);
        out[static_cast<size_t>(r * outputs + o)] =
            static_cast<float>(sum) * scales[static_cast<size_t>(r)].scale;
      }
    }
    return out;
  }

  std::vector<float> run(const KernelTable& table) const {
    const Int8Panel layout(inputs, table.nr);
    const int64_t panels = (outputs + table.nr - 1) / table.nr;
    Guarded<std::byte> packed(static_cast<size_t>(panels) * layout.bytes);
    for (int64_t p = 0; p < panels; ++p) {
      std::vector<kernels::StoredRow> stored(static_cast<size_t>(table.nr), {nullptr, DType::kI8});
      for (int64_t o = p * table.nr; o < std::min(outputs, (p + 1) * table.nr); ++o) {
        stored[static_cast<size_t>(o - p * table.nr)].data =
            reinterpret_cast<const std::byte*>(w.data() + o * inputs);
      }
      EXPECT_TRUE(table.pack_int8_panel(stored.data(), inputs, {},
                                        packed.data() + static_cast<size_t>(p) * layout.bytes));
    }
    packed.expect_guard("packing");
    const int64_t lda = layout.depth + 64;
    Guarded<uint8_t> q(static_cast<size_t>((rows + kernels::kInt8RowGroup) * lda));
    for (int64_t r = 0; r < rows; ++r) {
      std::fill_n(q.data() + r * lda, layout.depth, uint8_t{0});
      std::copy_n(a.data() + r * inputs, inputs, q.data() + r * lda);
    }
    Guarded<int32_t> scratch(table.gemm_int8_scratch(rows));
    Guarded<float> c(static_cast<size_t>(rows * outputs));
    table.gemm_int8(*table.int8,
                    {.a = q.data(),
                     .lda = lda,
                     .scales = scales.data(),
                     .outliers = nullptr,
                     .outlier_count = 0,
                     .rows = rows,
                     .inputs = inputs,
                     .packed = packed.data(),
                     .cols = outputs,
                     .panel_begin = 0,
                     .panel_end = panels,
                     .activation = Activation::kNone,
                     .c = c.data(),
                     .ldc = outputs},
                    scratch.data());
    scratch.expect_guard("the scratch");
    c.expect_guard("the result");
    return {c.data(), c.data() + rows * outputs};
  }
};

std::string shape_of(const KernelTable& table, const IntegerLayer& layer) {
  return fmt::format("{}: {} x {} x {}", table.isa, layer.rows, layer.inputs, layer.outputs);
}

TEST(Int8Kernels, ProductsEqualScalarIntegersBitForBit) {
  std::mt19937 random(1);
  for (const KernelTable* table : kernels::supported_tables()) {
    for (auto [rows, inputs, outputs] : {std::array{1, 1, 1},
                                         {2, 3, 5},
                                         {5, 64, 16},
                                         {6, 65, 33},
                                         {13, 127, 31},
                                         {16, 64, 32},
                                         {17, 200, 64},
                                         {31, 384, 40},
                                         {33, 256, 96},
                                         {97, 130, 70},
                                         {200, 192, 65}}) {
      IntegerLayer layer(rows, inputs, outputs);
      for (uint8_t& x : layer.a) x = static_cast<uint8_t>(random() % (table->int8->levels + 1));
      for (int8_t& x : layer.w) x = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
      for (auto& s : layer.scales) {
        s = {std::ldexp(1.0f, static_cast<int>(random() % 9) - 4),
             static_cast<int32_t>(random() % (table->int8->levels + 1))};
      }
      EXPECT_EQ(layer.run(*table), layer.expected()) << shape_of(*table, layer);
    }
  }
}

// The bounds of Int8Block: every product at its largest, of one sign, over the longest row.
TEST(Int8Kernels, TheLargestSumsDoNotOverflow) {
  for (const KernelTable* table : kernels::supported_tables()) {
    for (int64_t inputs : {int64_t{64}, int64_t{4096}, kernels::kMaxInt8Inputs}) {
      for (int sign : {1, -1}) {
        IntegerLayer layer(2, inputs, 3);
        std::fill(layer.a.begin(), layer.a.end(), static_cast<uint8_t>(table->int8->levels));
        std::fill(layer.w.begin(), layer.w.end(), static_cast<int8_t>(sign * 127));
        EXPECT_EQ(layer.run(*table), layer.expected()) << shape_of(*table, layer);
      }
    }
  }
}

struct Quantized {
  std::vector<uint8_t> q;
  kernels::RowScale scale;
  std::vector<float> outliers;
};

Quantized quantize(const KernelTable& table, const std::vector<float>& x,
                   const std::vector<int32_t>& columns = {}) {
  const auto n = static_cast<int64_t>(x.size());
  const int64_t depth = Int8Panel(n, table.nr).depth;
  Guarded<uint8_t> q(static_cast<size_t>(depth));
  Guarded<float> outliers(columns.size());
  std::vector<float> factors(columns.empty() ? 0 : x.size(), 1.0f);
  for (int32_t column : columns) factors[static_cast<size_t>(column)] = 0.0f;
  Quantized out;
  table.quantize_row({.x = x.data(),
                      .inputs = n,
                      .factors = columns.empty() ? nullptr : factors.data(),
                      .outlier_columns = columns.data(),
                      .outlier_count = static_cast<int64_t>(columns.size()),
                      .levels = table.int8->levels,
                      .q = q.data(),
                      .scale = &out.scale,
                      .outliers = outliers.data()});
  q.expect_guard("a row");
  outliers.expect_guard("outliers");
  out.q.assign(q.data(), q.data() + depth);
  out.outliers.assign(outliers.data(), outliers.data() + columns.size());
  return out;
}

TEST(Int8Kernels, ARowIsQuantisedWithinHalfALevelAndZeroIsExact) {
  std::mt19937 random(2);
  for (const KernelTable* table : kernels::supported_tables()) {
    for (int64_t n : {1, 2, 15, 64, 65, 384, 1000}) {
      for (float shift : {0.0f, 3.0f, -3.0f}) {
        std::vector<float> x = random_values(random, n);
        for (float& v : x) v += shift;
        x[static_cast<size_t>(n / 2)] = 0.0f;
        const Quantized got = quantize(*table, x);
        for (size_t i = 0; i < x.size(); ++i) {
          ASSERT_LE(got.q[i], table->int8->levels);
          const float back = got.scale.scale * static_cast<float>(got.q[i] - got.scale.zero);
          // A level off zero's own rounding, and half a level: the ends of the range may share one.
          ASSERT_NEAR(back, x[i], got.scale.scale * 1.001f) << table->isa << " " << i;
          if (x[i] == 0.0f) {
            ASSERT_EQ(back, 0.0f) << table->isa;
          }
        }
        for (size_t i = x.size(); i < got.q.size(); ++i) ASSERT_EQ(got.q[i], 0) << "padding";
      }
    }
  }
}

TEST(Int8Kernels, RowsOfOneValueAndOfNothing) {
  for (const KernelTable* table : kernels::supported_tables()) {
    for (float value : {0.0f, 1e-38f, 5.0f, -5.0f, 1e30f}) {
      const Quantized got = quantize(*table, std::vector<float>(70, value));
      const float back = got.scale.scale * static_cast<float>(got.q[69] - got.scale.zero);
      EXPECT_NEAR(back, value, std::abs(value) * 1e-6 + 1e-30) << table->isa;
    }
  }
}

TEST(Int8Kernels, OutlierColumnsLeaveTheRangeToTheOthers) {
  for (const KernelTable* table : kernels::supported_tables()) {
    std::vector<float> x(130, 1.0f);
    x[3] = 1000.0f;
    x[129] = -500.0f;
    const Quantized got = quantize(*table, x, {3, 129});
    EXPECT_EQ(got.outliers, (std::vector<float>{1000.0f, -500.0f}));
    EXPECT_EQ(got.q[3], got.scale.zero);
    EXPECT_EQ(got.q[129], got.scale.zero);
    EXPECT_NEAR(got.scale.scale, 1.0f / static_cast<float>(table->int8->levels), 1e-6);
  }
}

TEST(Int8Kernels, NaNAndInfinityMarkTheirRow) {
  for (const KernelTable* table : kernels::supported_tables()) {
    for (float bad : {NAN, INFINITY, -INFINITY}) {
      for (size_t at : {size_t{0}, size_t{40}, size_t{66}}) {
        std::vector<float> x(67, 1.0f);
        x[at] = bad;
        EXPECT_TRUE(std::isnan(quantize(*table, x).scale.scale)) << table->isa << " at " << at;
        const Quantized apart = quantize(*table, x, {static_cast<int32_t>(at)});
        EXPECT_TRUE(std::isnan(apart.scale.scale)) << table->isa << " as an outlier";
      }
    }
  }
}

class Int8Test : public testing::TestWithParam<DeviceCase> {
 protected:
  int32_t levels() const { return kernels::find_table(GetParam().isa)->int8->levels; }
  TestDevice cpu_{"cpu", GetParam().threads, GetParam().isa};
  TestDevice ref_{"ref", 1, ""};
  std::mt19937 random_{20261126};
};

double norm(const GuardedMat& m, const GuardedMat* minus = nullptr) {
  double sum = 0;
  for (int64_t r = 0; r < m.view().rows; ++r) {
    for (int64_t c = 0; c < m.view().cols; ++c) {
      const double x = m.view().row(r)[c];
      const double y = minus != nullptr ? minus->view().row(r)[c] : 0;
      sum += (x - y) * (x - y);
    }
  }
  return std::sqrt(sum);
}

// With as many levels the two differ where a value lies halfway between two of them and rounding
// falls to the other side, by one level times one weight; at most a few such in a row.
TEST_P(Int8Test, LinearEqualsRef) {
  for (auto [rows, in, out] :
       {std::array{0, 8, 8}, {1, 1, 1}, {2, 33, 17}, {13, 100, 47}, {49, 64, 40}, {97, 384, 129}}) {
    for (Activation activation : {Activation::kNone, Activation::kGelu}) {
      const Stored weight("w", {out, in}, DType::kF32, random_values(random_, out * in));
      const Stored bias("b", {out}, DType::kF16, random_values(random_, out));
      InputQuantization input;
      if (in >= 64) {
        input.outlier_columns = {0};
        for (int64_t i = 0; i < in; ++i) input.smoothing.push_back(i % 2 == 0 ? 0.5f : 1.5f);
      }
      const LinearSource source{{&weight.view}, {&bias.view}, &input};
      GuardedMat x(rows, in), got(rows, out), want(rows, out);
      x.fill(random_);
      cpu_.ops().linear(cpu_.pack(source, DType::kI8), x.view(), activation, got.view());
      ref_.ops().linear(ref_.pack(source, DType::kI8), x.view(), activation, want.view());
      const std::string what = testing::PrintToString(std::vector<int>{rows, in, out});
      if (levels() == 255) {
        expect_near(got, want, 8.0 / 255 * 4 * 2, what);
        EXPECT_LE(norm(got, &want), 2e-3 * norm(want) + 1e-5) << what;
      } else if (in >= 33) {
        EXPECT_LE(norm(got, &want), 0.04 * norm(want)) << what;
      }
      got.expect_guards_intact(what);
    }
  }
}

TEST_P(Int8Test, LinearOfARowDoesNotDependOnTheOtherRows) {
  const Stored weight("w", {70, 130}, DType::kF32, random_values(random_, 70 * 130));
  const InputQuantization input{{7, 100}, {}};
  const PackedLinear packed = cpu_.pack({{&weight.view}, {nullptr}, &input}, DType::kI8);
  GuardedMat x(117, 130), together(117, 70);
  x.fill(random_);
  cpu_.ops().linear(packed, x.view(), Activation::kGelu, together.view());
  for (int64_t r = 0; r < 117; ++r) {
    GuardedMat alone(1, 70);
    cpu_.ops().linear(packed, x.view().row_range(r, r + 1), Activation::kGelu, alone.view());
    for (int64_t c = 0; c < 70; ++c) {
      ASSERT_EQ(alone.view().row(0)[c], together.view().row(r)[c]) << "row " << r;
    }
  }
}

// Four channels whose inputs are 20 or 60 times the others'. The error is set against the bulk of
// the signal, what the other channels bring, because the outliers hide it.
TEST_P(Int8Test, OutlierChannelsKeptApartCostTheBulkNothing) {
  constexpr int64_t kRows = 64, kIn = 1024, kOut = 256;
  const InputQuantization input{{5, 300, 301, 1000}, {}};
  for (float times : {1.0f, 20.0f, 60.0f}) {
    const Stored weight("w", {kOut, kIn}, DType::kF32, random_values(random_, kOut * kIn, 0.03f));
    GuardedMat x(kRows, kIn), bulk(kRows, kIn);
    x.fill(random_);
    for (int64_t r = 0; r < kRows; ++r) {
      std::copy_n(x.view().row(r), kIn, bulk.view().row(r));
      for (int32_t c : input.outlier_columns) {
        bulk.view().row(r)[c] = 0.0f;
        x.view().row(r)[c] *= times;
      }
    }
    GuardedMat got(kRows, kOut), want(kRows, kOut), bulk_signal(kRows, kOut);
    const PackedLinear exact = cpu_.pack({{&weight.view}, {nullptr}});
    cpu_.ops().linear(exact, x.view(), Activation::kNone, want.view());
    cpu_.ops().linear(exact, bulk.view(), Activation::kNone, bulk_signal.view());
    const PackedLinear packed = cpu_.pack({{&weight.view}, {nullptr}, &input}, DType::kI8);
    cpu_.ops().linear(packed, x.view(), Activation::kNone, got.view());
    EXPECT_LE(norm(got, &want) / norm(bulk_signal), 0.03) << times << " times";
  }
}

TEST_P(Int8Test, NaNStaysInItsRowAndReachesTheResult) {
  const Stored weight("w", {40, 70}, DType::kF32, random_values(random_, 40 * 70));
  GuardedMat x(5, 70), y(5, 40);
  x.fill(random_);
  x.view().row(2)[69] = NAN;
  cpu_.ops().linear(cpu_.pack({{&weight.view}, {nullptr}}, DType::kI8), x.view(), Activation::kGelu,
                    y.view());
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t c = 0; c < 40; ++c) EXPECT_EQ(std::isnan(y.view().row(r)[c]), r == 2) << r;
  }
}

INSTANTIATE_TEST_SUITE_P(EachIsa, Int8Test, testing::ValuesIn(device_cases()), case_name);

}  // namespace
}  // namespace tamis
