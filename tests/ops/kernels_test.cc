// The elementary functions inside the kernels, over their whole range, on each instruction set.

#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/kernels.h"
#include "ops_fixture.h"

namespace tamis {
namespace {

/// activation(x) through a 1 x 1 linear layer with weight 1, for many x at a time.
std::vector<float> apply(const kernels::KernelTable& table, Activation activation,
                         const std::vector<float>& x) {
  const float one = 1.0f;
  std::vector<kernels::StoredRow> rows(static_cast<size_t>(table.nr), {nullptr, DType::kF32});
  rows[0] = {reinterpret_cast<const std::byte*>(&one), DType::kF32};
  std::vector<float> panel(static_cast<size_t>(table.nr)), bias(panel.size(), 0.0f), y(x.size());
  auto* packed = reinterpret_cast<std::byte*>(panel.data());
  EXPECT_TRUE(table.pack_panel(rows.data(), 1, DType::kF32, packed));
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> scratch(table.gemm_scratch(n, 1));
  table.gemm(
      {x.data(), 1, n, 1, packed, DType::kF32, bias.data(), 1, 0, 1, activation, y.data(), 1},
      scratch.data());
  return y;
}

std::vector<float> range(float from, float to, int steps) {
  std::vector<float> out;
  for (int i = 0; i <= steps; ++i) {
    out.push_back(from + (to - from) * static_cast<float>(i) / static_cast<float>(steps));
  }
  return out;
}

TEST(Kernels, GeluIsTheErfForm) {
  for (const auto* table : kernels::supported_tables()) {
    const std::vector<float> x = range(-12, 12, 100'000);
    const std::vector<float> y = apply(*table, Activation::kGelu, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = 0.5 * x[i] * std::erfc(-x[i] / std::numbers::sqrt2);
      const double tolerance = 1.5e-7 + std::abs(x[i]) * 1.2e-7;
      ASSERT_NEAR(y[i], want, tolerance) << table->isa << " x = " << x[i];
    }
    EXPECT_EQ(apply(*table, Activation::kGelu, {1e30f})[0], 1e30f);
    EXPECT_NEAR(apply(*table, Activation::kGelu, {-1e30f})[0], 0.0, 1e-8);
    EXPECT_TRUE(std::isnan(apply(*table, Activation::kGelu, {NAN})[0])) << table->isa;
    EXPECT_EQ(apply(*table, Activation::kGelu, {INFINITY})[0], INFINITY) << table->isa;
  }
}

TEST(Kernels, TanhSaturatesAndKeepsNaN) {
  for (const auto* table : kernels::supported_tables()) {
    const std::vector<float> x = range(-30, 30, 100'000);
    const std::vector<float> y = apply(*table, Activation::kTanh, x);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(y[i], std::tanh(static_cast<double>(x[i])), 3e-7) << table->isa << " " << x[i];
    }
    EXPECT_TRUE(std::isnan(apply(*table, Activation::kTanh, {NAN})[0]));
    EXPECT_EQ(apply(*table, Activation::kTanh, {INFINITY})[0], 1.0f);
  }
}

TEST(Kernels, EveryHalfAndBfloatIsReadExactly) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> got(bits.size()), want(bits.size());
  for (const auto* table : kernels::supported_tables()) {
    for (DType dtype : {DType::kF16, DType::kBF16}) {
      const auto* bytes = reinterpret_cast<const std::byte*>(bits.data());
      table->to_f32(dtype, bytes, 65536, got.data());
      convert_to_f32(dtype, bytes, want.data(), 65536);
      for (size_t i = 0; i < bits.size(); ++i) {
        const bool both_nan = std::isnan(got[i]) && std::isnan(want[i]);
        ASSERT_TRUE(both_nan || got[i] == want[i]) << table->isa << " bits " << i;
      }
    }
  }
}

TEST(Kernels, TheBestTableComesFirstAndEachIsFoundByName) {
  const auto tables = kernels::supported_tables();
  ASSERT_FALSE(tables.empty());
  EXPECT_EQ(tables.back()->isa, "baseline");
  for (const auto* table : tables) EXPECT_EQ(kernels::find_table(table->isa), table);
  EXPECT_EQ(kernels::find_table("nonsense"), nullptr);
}

}  // namespace
}  // namespace tamis
