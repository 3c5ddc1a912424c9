// The arithmetic of the fake libcublasLt: any of the types to f32, sums in f32, and back.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "fake_cublaslt.h"

namespace tamis::fakes {
namespace {

// A tile of the result is kTileRows x kTileCols; so small that it stays in registers.
constexpr size_t kTileRows = 8, kTileCols = 4;
typedef float Row __attribute__((vector_size(kTileRows * sizeof(float))));

float from_half(uint16_t h) {
  const float sign = (h & 0x8000) != 0 ? -1.0F : 1.0F;
  const int exponent = h >> 10 & 0x1F;
  const int mantissa = h & 0x3FF;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  return std::bit_cast<float>(static_cast<uint32_t>(h & 0x8000) << 16 |
                              static_cast<uint32_t>(exponent + 112) << 23 |
                              static_cast<uint32_t>(mantissa) << 13);
}

/// To the nearest, ties to even.
uint16_t to_half(float f) {
  const auto bits = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float size = std::fabs(f);
  if (std::isnan(f)) return sign | 0x7E00;
  if (size >= 65520.0F) return sign | 0x7C00;
  if (size < 0x1p-14F) {
    // Steps of 2^-24; the carry into the smallest normal number is right as it is.
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24F)));
  }
  const uint32_t rounded = (bits & 0x7FFFFFFF) + 0xFFF + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | (rounded - (112U << 23)) >> 13);
}

float from_bfloat(uint16_t b) { return std::bit_cast<float>(static_cast<uint32_t>(b) << 16); }

uint16_t to_bfloat(float f) {
  const auto bits = std::bit_cast<uint32_t>(f);
  if (std::isnan(f)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// TF32 has 10 bits of mantissa. A card may round so, hence this does.
float to_tf32(float f) {
  if (!std::isfinite(f)) return f;
  const auto bits = std::bit_cast<uint32_t>(f);
  return std::bit_cast<float>((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFU);
}

float load(cudaDataType_t type, const void* p, size_t index) {
  uint16_t bits = 0;
  if (type == CUDA_R_32F) {
    float f = 0;
    std::memcpy(&f, static_cast<const std::byte*>(p) + 4 * index, sizeof f);
    return f;
  }
  std::memcpy(&bits, static_cast<const std::byte*>(p) + 2 * index, sizeof bits);
  return type == CUDA_R_16F ? from_half(bits) : from_bfloat(bits);
}

void store(cudaDataType_t type, void* p, size_t index, float f) {
  if (type == CUDA_R_32F) {
    std::memcpy(static_cast<std::byte*>(p) + 4 * index, &f, sizeof f);
    return;
  }
  const uint16_t bits = type == CUDA_R_16F ? to_half(f) : to_bfloat(f);
  std::memcpy(static_cast<std::byte*>(p) + 2 * index, &bits, sizeof bits);
}

/// Lines [first, first + count) of a matrix as [k][width], zeros to fill up. A line is a row of
/// op(A) or a column of op(B); `across`: its elements are ld apart.
void pack(const LtMatrix& matrix, const void* p, size_t offset, bool across, bool tf32,
          size_t first, size_t count, size_t width, size_t k, float* packed) {
  std::fill(packed, packed + k * width, 0.0F);
  const auto take = [&](size_t line, size_t i, size_t at) {
    const float f = load(matrix.type, p, offset + at);
    packed[i * width + line] = tf32 ? to_tf32(f) : f;
  };
  // In the order of the memory.
  if (across) {
    for (size_t i = 0; i < k; ++i) {
      for (size_t line = 0; line < count; ++line) take(line, i, first + line + i * matrix.ld);
    }
  } else {
    for (size_t line = 0; line < count; ++line) {
      for (size_t i = 0; i < k; ++i) take(line, i, (first + line) * matrix.ld + i);
    }
  }
}

void multiply_tile(const float* a, const float* b, size_t k, float* tile) {
  Row sum[kTileCols] = {};
  for (size_t i = 0; i < k; ++i) {
    Row row;
    std::memcpy(&row, a + i * kTileRows, sizeof row);
    for (size_t col = 0; col < kTileCols; ++col) sum[col] += row * b[i * kTileCols + col];
  }
  std::memcpy(tile, sum, sizeof sum);
}

}  // namespace

void multiply(const LtProduct& product) {
  const LtProblem& of = product.problem;
  const size_t m = of.d.rows, n = of.d.cols, k = of.k;
  const bool tf32 = of.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const size_t col_tiles = (n + kTileCols - 1) / kTileCols;
  std::vector<float> a(k * kTileRows), b(col_tiles * k * kTileCols);
  float tile[kTileRows * kTileCols];

  for (size_t batch = 0; batch < of.d.batch; ++batch) {
    for (size_t t = 0; t < col_tiles; ++t) {
      const size_t first = t * kTileCols;
      pack(of.b, product.b, batch * of.b.stride, of.transpose_b, tf32, first,
           std::min(kTileCols, n - first), kTileCols, k, b.data() + t * k * kTileCols);
    }
    for (size_t row = 0; row < m; row += kTileRows) {
      const size_t rows = std::min(kTileRows, m - row);
      pack(of.a, product.a, batch * of.a.stride, !of.transpose_a, tf32, row, rows, kTileRows, k,
           a.data());
      for (size_t t = 0; t < col_tiles; ++t) {
        multiply_tile(a.data(), b.data() + t * k * kTileCols, k, tile);
        for (size_t j = 0; j < std::min(kTileCols, n - t * kTileCols); ++j) {
          const size_t col = t * kTileCols + j;
          for (size_t i = 0; i < rows; ++i) {
            float f = product.alpha * tile[j * kTileRows + i];
            if (product.beta != 0) {
              f += product.beta *
                   load(of.c.type, product.c, batch * of.c.stride + col * of.c.ld + row + i);
            }
            if (of.has_bias) f += load(of.d.type, of.bias, batch * of.bias_stride + row + i);
            if (of.has_relu && f < 0) f = 0;  // a NaN stays one, so that poison is seen
            store(of.d.type, product.d, batch * of.d.stride + col * of.d.ld + row + i, f);
          }
        }
      }
    }
  }
}

}  // namespace tamis::fakes
