// Products in bf16 (kernels/bf16_dot.h) against sums in double. Skipped where the CPU has none.

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "numeric/dtype.h"
#include "ops_fixture.h"

namespace tamis {
namespace {

using kernels::Bf16Dot;
using kernels::kBf16Columns;
using kernels::KernelTable;

std::vector<const Bf16Dot*> dots() {
  std::vector<const Bf16Dot*> out;
  for (const KernelTable* table : kernels::supported_tables()) {
    if (table->bf16 != nullptr) out.push_back(table->bf16);
  }
  return out;
}

struct Case {
  int64_t rows, k, panels;
  bool add;
};

void expect_product(const Bf16Dot& dot, const Case& c, std::mt19937& random) {
  SCOPED_TRACE(testing::Message() << dot.isa << ", rows " << c.rows << ", k " << c.k << ", panels "
                                  << c.panels << ", add " << c.add);
  std::uniform_real_distribution<float> value(-1, 1);
  const int64_t lda = c.k + 32, columns = c.panels * kBf16Columns, ld_acc = columns + 16;
  Guarded<uint16_t> a(static_cast<size_t>(kernels::kBf16Rows * lda));
  Guarded<uint16_t> b(static_cast<size_t>(c.k * columns));
  Guarded<float> acc(static_cast<size_t>(kernels::kBf16Rows * ld_acc));
  for (int64_t i = 0; i < kernels::kBf16Rows * lda; ++i) {
    a.data()[static_cast<size_t>(i)] = f32_to_bf16(value(random));
  }
  for (int64_t i = 0; i < c.k * columns; ++i) {
    b.data()[static_cast<size_t>(i)] = f32_to_bf16(value(random));
  }
  for (int64_t i = 0; i < kernels::kBf16Rows * ld_acc; ++i) acc.data()[static_cast<size_t>(i)] = 7;

  dot.multiply({a.data(), lda, c.rows, c.k, b.data(), c.panels, acc.data(), ld_acc, c.add});

  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t col = 0; col < columns; ++col) {
      const int64_t panel = col / kBf16Columns;
      double sum = c.add ? 7 : 0;
      for (int64_t i = 0; i < c.k; ++i) {
        const int64_t at = ((panel * c.k / 2 + i / 2) * kBf16Columns + col % kBf16Columns) * 2;
        sum += double{bf16_to_f32(a.data()[static_cast<size_t>(r * lda + i)])} *
               bf16_to_f32(b.data()[static_cast<size_t>(at + i % 2)]);
      }
      ASSERT_NEAR(acc.data()[static_cast<size_t>(r * ld_acc + col)], sum,
                  1e-6 * static_cast<double>(c.k))
          << "row " << r << ", column " << col;
    }
  }
  acc.expect_guard("acc");
  // Beyond the columns nothing is written.
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t col = columns; col < ld_acc; ++col) {
      ASSERT_EQ(acc.data()[static_cast<size_t>(r * ld_acc + col)], 7) << "row " << r;
    }
  }
}

TEST(Bf16Dot, SumsProductsOfEveryShape) {
  if (dots().empty()) GTEST_SKIP() << "this CPU has no bf16 instructions that are used";
  std::mt19937 random(1);
  for (const Bf16Dot* dot : dots()) {
    for (const bool add : {false, true}) {
      for (const int64_t rows : {1, 15, 16, 17, 31, 32}) {
        for (const int64_t k : {32, 64, 96, 512}) {
          for (const int64_t panels : {1, 3}) expect_product(*dot, {rows, k, panels, add}, random);
        }
      }
    }
  }
}

TEST(Bf16Dot, ARowDoesNotDependOnTheOthers) {
  if (dots().empty()) GTEST_SKIP() << "this CPU has no bf16 instructions that are used";
  std::mt19937 random(2);
  std::uniform_real_distribution<float> value(-1, 1);
  constexpr int64_t kDepth = 128;
  for (const Bf16Dot* dot : dots()) {
    Guarded<uint16_t> a(32 * kDepth), b(kDepth * kBf16Columns);
    Guarded<float> all(32 * kBf16Columns), one(16 * kBf16Columns);
    for (size_t i = 0; i < 32 * kDepth; ++i) a.data()[i] = f32_to_bf16(value(random));
    for (size_t i = 0; i < kDepth * kBf16Columns; ++i) b.data()[i] = f32_to_bf16(value(random));
    dot->multiply({a.data(), kDepth, 32, kDepth, b.data(), 1, all.data(), kBf16Columns, false});
    for (size_t r = 0; r < 32; r += 16) {
      dot->multiply(
          {a.data() + r * kDepth, kDepth, 1, kDepth, b.data(), 1, one.data(), kBf16Columns, false});
      for (size_t c = 0; c < kBf16Columns; ++c) {
        EXPECT_EQ(one.data()[c], all.data()[r * kBf16Columns + c]) << dot->isa << ", row " << r;
      }
    }
  }
}

}  // namespace
}  // namespace tamis
