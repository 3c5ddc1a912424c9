#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tamis {

/// Storage types of a tensor. Arithmetic is always f32 (or wider).
enum class DType { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kBool };

size_t size_of(DType dtype);            ///< bytes of one element
std::string_view name_of(DType dtype);  ///< "F32", as safetensors writes it
bool is_floating(DType dtype);          ///< F32, F16, BF16, F64

/// IEEE half and bfloat16 to float; exact.
float f16_to_f32(uint16_t bits);
float bf16_to_f32(uint16_t bits);
/// Rounds to nearest, ties to even; overflow becomes infinity.
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);

/// Converts n elements of a floating storage type; src may be unaligned.
void convert_to_f32(DType dtype, const std::byte* src, float* dst, size_t n);
/// The way back, to f32, f16 or bf16; rounds to nearest even, overflow becomes infinity.
void convert_from_f32(DType dtype, const float* src, std::byte* dst, size_t n);

}  // namespace tamis
