#include "numeric/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tamis/error.h"

namespace tamis {
namespace {

constexpr uint32_t kAll = 65536;

// IEEE 754 by its definition, in double: sign, exponent, fraction.
double value_of(uint32_t bits, int exponent_bits, int fraction_bits) {
  const uint32_t fraction = bits & ((1u << fraction_bits) - 1);
  const int exponent = static_cast<int>(bits >> fraction_bits & ((1u << exponent_bits) - 1));
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  }
  const double mantissa = std::ldexp(fraction, -fraction_bits) + (exponent == 0 ? 0 : 1);
  return sign * std::ldexp(mantissa, (exponent == 0 ? 1 : exponent) - bias);
}

struct Format {
  const char* name;
  int exponent_bits;
  int fraction_bits;
  float (*to_f32)(uint16_t);
  uint16_t (*from_f32)(float);
  double value(uint32_t bits) const { return value_of(bits, exponent_bits, fraction_bits); }
  uint32_t infinity() const { return ((1u << exponent_bits) - 1) << fraction_bits; }
};

class SixteenBits : public ::testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(All, SixteenBits,
                         ::testing::Values(Format{"f16", 5, 10, f16_to_f32, f32_to_f16},
                                           Format{"bf16", 8, 7, bf16_to_f32, f32_to_bf16}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_P(SixteenBits, EveryValueIsExactAndComesBack) {
  const Format f = GetParam();
  for (uint32_t bits = 0; bits < kAll; ++bits) {
    const float got = f.to_f32(static_cast<uint16_t>(bits));
    const double expected = f.value(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
      ASSERT_TRUE(std::isnan(f.to_f32(f.from_f32(got)))) << bits;
      continue;
    }
    ASSERT_EQ(got, expected) << bits;
    ASSERT_EQ(std::signbit(got), bits >> 15 != 0) << bits;
    ASSERT_EQ(f.from_f32(got), bits);
  }
}

// Between each two neighbours: below the middle goes down, above it up, the middle to the even one.
TEST_P(SixteenBits, RoundsToNearestTiesToEven) {
  const Format f = GetParam();
  for (uint32_t bits = 0; bits + 1 < f.infinity(); ++bits) {
    const float low = f.to_f32(static_cast<uint16_t>(bits));
    const float high = f.to_f32(static_cast<uint16_t>(bits + 1));
    const float middle = static_cast<float>((double{low} + double{high}) / 2);
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(f.from_f32(middle), even) << bits;
    ASSERT_EQ(f.from_f32(-middle), even | 0x8000u) << bits;
    ASSERT_EQ(f.from_f32(std::nextafter(middle, low)), bits);
    ASSERT_EQ(f.from_f32(std::nextafter(middle, high)), bits + 1);
  }
}

TEST_P(SixteenBits, OverflowAndInfinity) {
  const Format f = GetParam();
  const auto inf = static_cast<uint16_t>(f.infinity());
  const float max = f.to_f32(static_cast<uint16_t>(inf - 1));
  const double step = double{max} - f.to_f32(static_cast<uint16_t>(inf - 2));
  const auto half_above = static_cast<float>(max + step / 2);
  EXPECT_EQ(f.from_f32(half_above), inf);
  EXPECT_EQ(f.from_f32(std::nextafter(half_above, 0.0f)), inf - 1);
  EXPECT_EQ(f.from_f32(std::numeric_limits<float>::max()), inf);
  EXPECT_EQ(f.from_f32(std::numeric_limits<float>::infinity()), inf);
  EXPECT_EQ(f.from_f32(-std::numeric_limits<float>::infinity()), inf | 0x8000);
}

TEST_P(SixteenBits, NanStaysNanWhateverItsPayload) {
  const Format f = GetParam();
  for (const uint32_t payload : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    EXPECT_TRUE(std::isnan(f.to_f32(f.from_f32(std::bit_cast<float>(payload))))) << payload;
  }
}

TEST_P(SixteenBits, TinyValues) {
  const Format f = GetParam();
  EXPECT_EQ(f.from_f32(0.0f), 0);
  EXPECT_EQ(f.from_f32(-0.0f), 0x8000);
  const float smallest = f.to_f32(1);
  EXPECT_EQ(f.from_f32(smallest / 2), 0);  // a tie, and zero is even
  EXPECT_EQ(f.from_f32(std::nextafter(smallest / 2, 1.0f)), 1);
  EXPECT_EQ(f.from_f32(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(F16, RandomFloatsRoundToTheNearest) {
  std::mt19937 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!(std::abs(x) < 65504)) continue;
    const uint16_t bits = f32_to_f16(x);
    const double error = std::abs(double{f16_to_f32(bits)} - double{x});
    for (const int neighbour : {-1, 1}) {
      const auto other = static_cast<uint16_t>(bits + neighbour);
      const double other_value = f16_to_f32(other);
      if (!std::isfinite(other_value)) continue;
      ASSERT_LE(error, std::abs(other_value - x)) << x;
    }
  }
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::kF32), 4u);
  EXPECT_EQ(size_of(DType::kBF16), 2u);
  EXPECT_EQ(size_of(DType::kI64), 8u);
  EXPECT_EQ(size_of(DType::kBool), 1u);
  EXPECT_EQ(name_of(DType::kBF16), "BF16");
  EXPECT_EQ(name_of(DType::kBool), "BOOL");
  for (const DType floating : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    EXPECT_TRUE(is_floating(floating));
  }
  for (const DType other :
       {DType::kI64, DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    EXPECT_FALSE(is_floating(other));
  }
}

template <class T>
std::vector<std::byte> unaligned(const std::vector<T>& values) {
  std::vector<std::byte> out(1 + values.size() * sizeof(T));
  std::memcpy(out.data() + 1, values.data(), values.size() * sizeof(T));
  return out;
}

TEST(ConvertToF32, FromEachFloatingTypeUnaligned) {
  const std::vector<float> expected = {1.5f, -2.0f, 0.0f};
  std::vector<float> got(3);
  const auto check = [&](DType dtype, const std::vector<std::byte>& bytes) {
    got.assign(4, 99.0f);
    convert_to_f32(dtype, bytes.data() + 1, got.data(), 3);
    EXPECT_EQ(got[3], 99.0f) << name_of(dtype);
    got.resize(3);
    EXPECT_EQ(got, expected) << name_of(dtype);
  };
  check(DType::kF32, unaligned(expected));
  check(DType::kF64, unaligned(std::vector<double>{1.5, -2.0, 0.0}));
  check(DType::kF16, unaligned(std::vector<uint16_t>{0x3e00, 0xc000, 0}));
  check(DType::kBF16, unaligned(std::vector<uint16_t>{0x3fc0, 0xc000, 0}));
}

TEST(ConvertToF32, RefusesIntegers) {
  const std::byte bytes[8] = {};
  float out = 0;
  try {
    convert_to_f32(DType::kI64, bytes, &out, 1);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInternal);
    EXPECT_NE(std::string(e.what()).find("I64"), std::string::npos);
  }
}

TEST(ConvertToF32, NothingToDo) { convert_to_f32(DType::kF32, nullptr, nullptr, 0); }

}  // namespace
}  // namespace tamis
