// Packed attention on the tensor cores, sm_80 and later: a block takes 64 queries of one head and
// one sequence, each of its four warps 16 of them, and goes over the keys 64 at a time with a
// running softmax. q, k, v and the probabilities are rounded to 16 bits, sums are f32.

#include "backend/cuda/warp.cuh"

namespace tamis::cuda {
namespace {

constexpr int kKeys = 64;  // of a tile
constexpr int kPad = 8;    // of a row in shared memory, so that the rows of a fragment do not share
                           // banks

__device__ uint16_t narrow(float x, bool bf16) { return bf16 ? float_to_bf16(x) : float_to_f16(x); }
__device__ uint32_t narrow2(float low, float high, bool bf16) {
  return narrow(low, bf16) | static_cast<uint32_t>(narrow(high, bf16)) << 16;
}
__device__ uint32_t pair(const uint16_t* p) { return *reinterpret_cast<const uint32_t*>(p); }

/// Where a thread's numbers are in the 16 x 8 and 16 x 16 tiles of mma.m16n8k16 [PTX ISA, "Matrix
/// Fragments for mma.m16n8k16"]: rows `row` and row + 8, columns from `col`, in pairs.
struct Lane {
  int row, col;
};
__device__ Lane lane() {
  return {static_cast<int>(threadIdx.x % 32 / 4), static_cast<int>(threadIdx.x % 4 * 2)};
}

template <int D>
struct Tiles {
  uint16_t k[kKeys][D + kPad];
  uint16_t v[D][kKeys + kPad];  // transposed: the second product sums over keys, in pairs
};

/// Keys [begin, begin + 64) of a sequence; those from `end` on are zero.
template <int D>
__device__ void load_tiles(const AttentionArgs& a, int64_t begin, int64_t end, int64_t column,
                           Tiles<D>& tiles) {
  for (int i = threadIdx.x; i < kKeys * D; i += kAttentionThreads) {
    const int key = i / D, d = i % D;
    const int64_t t = begin + key;
    const bool there = t < end;
    tiles.k[key][d] = narrow(there ? a.k.data[t * a.k.stride + column + d] : 0.0f, a.bf16);
    tiles.v[d][key] = narrow(there ? a.v.data[t * a.v.stride + column + d] : 0.0f, a.bf16);
  }
}

/// The 16 queries of a warp from `first` on, as fragments; those from `end` on are zero.
template <int D>
__device__ void load_queries(const AttentionArgs& a, int64_t first, int64_t end, int64_t column,
                             uint32_t (&q)[D / 16][4]) {
  const Lane at = lane();
  for (int part = 0; part < 4; ++part) {
    const int64_t r = first + at.row + part % 2 * 8;
    const float* from = a.q.data + r * a.q.stride + column + at.col + part / 2 * 8;
    for (int step = 0; step < D / 16; ++step) {
      q[step][part] =
          r < end ? narrow2(from[step * 16], from[step * 16 + 1], a.bf16) : 0;
    }
  }
}

/// s = q k^T for the 16 queries of the warp and a tile of keys.
template <int D>
__device__ void scores(const uint32_t (&q)[D / 16][4], const Tiles<D>& tiles, bool bf16,
                       float (&s)[kKeys / 8][4]) {
  const Lane at = lane();
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const uint16_t* k = &tiles.k[n * 8 + at.row][step * 16 + at.col];
      mma_16816(s[n], q[step], pair(k), pair(k + 8), bf16);
    }
  }
}

/// The running softmax of two rows: s becomes exp2(s scale - maximum), `sum` and `o` are brought to
/// the new maximum. Keys from `keys` on do not count.
template <int D>
__device__ void softmax_step(float (&s)[kKeys / 8][4], int64_t keys, float scale,
                             float (&maximum)[2], float (&sum)[2], float (&o)[D / 8][4]) {
  const Lane at = lane();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float best = maximum[half];
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      for (int i = 0; i < 2; ++i) {
        float& x = s[n][half * 2 + i];
        x = n * 8 + at.col + i < keys ? x * scale : -INFINITY;
        best = fmaxf(best, x);
      }
    }
    // The four threads of a row.
    best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 1));
    best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 2));
    const float shrink = exp2f(maximum[half] - best);
    maximum[half] = best;
    float part = 0;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      for (int i = 0; i < 2; ++i) part += s[n][half * 2 + i] = exp2f(s[n][half * 2 + i] - best);
    }
    sum[half] = sum[half] * shrink + part;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      o[n][half * 2] *= shrink;
      o[n][half * 2 + 1] *= shrink;
    }
  }
}

/// o += p v; the accumulators of two 16 x 8 tiles of p are a 16 x 16 operand.
template <int D>
__device__ void mix(const float (&p)[kKeys / 8][4], const Tiles<D>& tiles, bool bf16,
                    float (&o)[D / 8][4]) {
  const Lane at = lane();
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    const float(&low)[4] = p[step * 2];
    const float(&high)[4] = p[step * 2 + 1];
    const uint32_t operand[4] = {narrow2(low[0], low[1], bf16), narrow2(low[2], low[3], bf16),
                                 narrow2(high[0], high[1], bf16), narrow2(high[2], high[3], bf16)};
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const uint16_t* v = &tiles.v[n * 8 + at.row][step * 16 + at.col];
      mma_16816(o[n], operand, pair(v), pair(v + 8), bf16);
    }
  }
}

template <int D>
__device__ void store(const AttentionArgs& a, int64_t first, int64_t end, int64_t column,
                      const float (&sum)[2], const float (&o)[D / 8][4]) {
  const Lane at = lane();
  for (int half = 0; half < 2; ++half) {
    float total = sum[half];
    total += __shfl_xor_sync(kAllLanes, total, 1);
    total += __shfl_xor_sync(kAllLanes, total, 2);
    const int64_t r = first + at.row + half * 8;
    if (r >= end) continue;
    float* to = a.out.data + r * a.out.stride + column + at.col;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      to[n * 8] = o[n][half * 2] / total;
      to[n * 8 + 1] = o[n][half * 2 + 1] / total;
    }
  }
}

template <int D>
__device__ void attention(const AttentionArgs& a, Tiles<D>& tiles) {
  const int64_t s = blockIdx.z, column = static_cast<int64_t>(blockIdx.y) * D;
  const int64_t end = a.cu_queries[s + 1];
  const int64_t block = a.cu_queries[s] + static_cast<int64_t>(blockIdx.x) * kAttentionRows;
  if (block >= end) return;  // of the whole block: a sequence shorter than the longest
  const int64_t first = block + threadIdx.x / 32 * 16;
  uint32_t q[D / 16][4];
  load_queries<D>(a, first, end, column, q);
  float o[D / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  // exp(x / sqrt(D)) = exp2(x log2(e) / sqrt(D))
  const float scale = 1.4426950408889634f / sqrtf(static_cast<float>(D));
  const int64_t keys = a.cu_keys[s + 1];
  for (int64_t key = a.cu_keys[s]; key < keys; key += kKeys) {
    __syncthreads();  // all warps have used the last tile
    load_tiles<D>(a, key, keys, column, tiles);
    __syncthreads();
    float p[kKeys / 8][4];
    scores<D>(q, tiles, a.bf16, p);
    softmax_step<D>(p, keys - key, scale, maximum, sum, o);
    mix<D>(p, tiles, a.bf16, o);
  }
  store<D>(a, first, end, column, sum, o);
}

}  // namespace

TAMIS_KERNEL tamis_attention_32(AttentionArgs args) {
  TAMIS_SHARED Tiles<32> tiles;
  attention<32>(args, tiles);
}

TAMIS_KERNEL tamis_attention_64(AttentionArgs args) {
  TAMIS_SHARED Tiles<64> tiles;
  attention<64>(args, tiles);
}

TAMIS_KERNEL tamis_attention_128(AttentionArgs args) {
  TAMIS_SHARED Tiles<128> tiles;
  attention<128>(args, tiles);
}

}  // namespace tamis::cuda
