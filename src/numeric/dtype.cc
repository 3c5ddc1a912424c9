#include "numeric/dtype.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/fail.h"

namespace tamis {
namespace {

struct DTypeInfo {
  size_t size;
  std::string_view name;
};
constexpr std::array<DTypeInfo, 10> kInfo = {{{4, "F32"},
                                              {2, "F16"},
                                              {2, "BF16"},
                                              {8, "F64"},
                                              {8, "I64"},
                                              {4, "I32"},
                                              {2, "I16"},
                                              {1, "I8"},
                                              {1, "U8"},
                                              {1, "BOOL"}}};

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace

size_t size_of(DType dtype) { return kInfo[static_cast<size_t>(dtype)].size; }
std::string_view name_of(DType dtype) { return kInfo[static_cast<size_t>(dtype)].name; }
bool is_floating(DType dtype) { return dtype <= DType::kF64; }

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest >= 0x400u) return std::bit_cast<float>(sign | ((rest << 13) + (112u << 23)));
  const float magnitude = static_cast<float>(rest) * 0x1p-24f;  // subnormal
  return sign ? -magnitude : magnitude;
}

float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {                        // subnormal or zero: units of 2^-24
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    return sign | static_cast<uint16_t>(std::nearbyint(scaled));
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

void convert_to_f32(DType dtype, const std::byte* src, float* dst, size_t n) {
  if (n == 0) return;  // memcpy wants real pointers even then; an empty tensor may have none
  switch (dtype) {
    case DType::kF32:
      std::memcpy(dst, src, n * sizeof(float));
      return;
    case DType::kF16:
      for (size_t i = 0; i < n; ++i) dst[i] = f16_to_f32(load<uint16_t>(src + 2 * i));
      return;
    case DType::kBF16:
      for (size_t i = 0; i < n; ++i) dst[i] = bf16_to_f32(load<uint16_t>(src + 2 * i));
      return;
    case DType::kF64:
      for (size_t i = 0; i < n; ++i) dst[i] = static_cast<float>(load<double>(src + 8 * i));
      return;
    default:
      fail(ErrorCode::kInternal, "convert_to_f32: {} is not a floating type", name_of(dtype));
  }
}

void convert_from_f32(DType dtype, const float* src, std::byte* dst, size_t n) {
  if (n == 0) return;
  switch (dtype) {
    case DType::kF32:
      std::memcpy(dst, src, n * sizeof(float));
      return;
    case DType::kF16:
    case DType::kBF16:
      for (size_t i = 0; i < n; ++i) {
        const uint16_t bits = dtype == DType::kF16 ? f32_to_f16(src[i]) : f32_to_bf16(src[i]);
        std::memcpy(dst + 2 * i, &bits, 2);
      }
      return;
    default:
      fail(ErrorCode::kInternal, "convert_from_f32: {} is not a storage type of weights",
           name_of(dtype));
  }
}

}  // namespace tamis
