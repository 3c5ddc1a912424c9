// Kernels that work on rows: norms, embeddings, activations, pooling. Small and plain: their time
// is that of reading and writing memory once or twice.

#include "backend/cuda/warp.cuh"

namespace tamis::cuda {
namespace {

/// y = LayerNorm(value(column)) of one row by one block. value is called three times a column, and
/// each column by the same thread, so y may be what value reads. stats: null, or two numbers.
template <class Value>
__device__ void layer_norm_row(const Value& value, int64_t n, const float* gamma, const float* beta,
                               float eps, float* y, float* stats) {
  TAMIS_SHARED float room[kThreads / 32];
  const float size = static_cast<float>(n);
  float sum = 0;
  for (int64_t c = threadIdx.x; c < n; c += kThreads) sum += value(c);
  const float mean = block_sum(sum, room) / size;
  float squares = 0;
  for (int64_t c = threadIdx.x; c < n; c += kThreads) {
    const float d = value(c) - mean;
    squares += d * d;
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, room) / size + eps);
  for (int64_t c = threadIdx.x; c < n; c += kThreads) {
    y[c] = (value(c) - mean) * scale * gamma[c] + beta[c];
  }
  if (stats != nullptr && threadIdx.x == 0) {
    stats[0] = mean;
    stats[1] = scale;
  }
}

}  // namespace

TAMIS_KERNEL tamis_embed_layer_norm(EmbedArgs a) {
  const int64_t t = blockIdx.x, n = a.out.cols;
  const int64_t word = static_cast<int64_t>(a.ids[t]) * n;
  const float* type = a.types + static_cast<int64_t>(a.type_ids[t]) * n;
  const float* position = a.positions + static_cast<int64_t>(a.position_ids[t]) * n;
  const auto value = [&](int64_t c) {
    return load_weight(a.words, a.word_dtype, word + c) + type[c] + position[c];
  };
  layer_norm_row(value, n, a.gamma, a.beta, a.eps, a.out.data + t * a.out.stride, nullptr);
}

TAMIS_KERNEL tamis_add_layer_norm(LayerNormArgs a) {
  const int64_t r = blockIdx.x;
  const float* x = a.x.data + r * a.x.stride;
  const float* residual = a.residual.data + r * a.residual.stride;
  const bool alone = a.residual.data == nullptr;
  const auto value = [&](int64_t c) { return alone ? x[c] : x[c] + residual[c]; };
  layer_norm_row(value, a.y.cols, a.gamma, a.beta, a.eps, a.y.data + r * a.y.stride,
                 a.stats == nullptr ? nullptr : a.stats + 2 * r);
}

TAMIS_KERNEL tamis_bias_activation(BiasArgs a) {
  const int64_t n = a.y.rows * a.y.cols;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t c = i % a.y.cols;
    float* y = a.y.data + i / a.y.cols * a.y.stride + c;
    *y = activate(a.activation, *y + a.bias[c]);
  }
}

TAMIS_KERNEL tamis_narrow(NarrowArgs a) {
  const int64_t n = a.x.rows * a.y_stride;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t c = i % a.y_stride;
    const float x = c < a.x.cols ? a.x.data[i / a.y_stride * a.x.stride + c] : 0.0f;
    a.y[i] = a.dtype == DType::kBF16 ? float_to_bf16(x) : float_to_f16(x);
  }
}

TAMIS_KERNEL tamis_dot(DotArgs a) {
  const int64_t lane = threadIdx.x % 32, n = a.y.rows * a.y.cols;
  for (int64_t i = first_element() / 32; i < n; i += element_step() / 32) {
    const int64_t r = i / a.y.cols, o = i % a.y.cols;
    const float* x = a.x.data + r * a.x.stride;
    float sum = 0;
    for (int64_t c = lane; c < a.x.cols; c += 32) {
      sum += x[c] * load_weight(a.weights, a.dtype, o * a.x.cols + c);
    }
    sum = warp_sum(sum);
    if (lane == 0) a.y.data[r * a.y.stride + o] = activate(a.activation, sum + a.bias[o]);
  }
}

// A column belongs to one thread, which takes the rows in order: y may be the head of x.
TAMIS_KERNEL tamis_gather_rows(GatherArgs a) {
  const int64_t c = first_element();
  if (c >= a.y.cols) return;
  for (int64_t r = 0; r < a.y.rows; ++r) {
    a.y.data[r * a.y.stride + c] = a.x.data[a.rows[r] * a.x.stride + c];
  }
}

TAMIS_KERNEL tamis_mean_rows(MeanArgs a) {
  const int64_t c = first_element(), s = blockIdx.y;
  if (c >= a.y.cols) return;
  const int64_t begin = a.cu_seqlens[s], end = a.cu_seqlens[s + 1];
  // Pieces of 64 rows: the error of a sum grows with its length.
  float sum = 0;
  for (int64_t piece = begin; piece < end; piece += 64) {
    float part = 0;
    for (int64_t t = piece; t < end && t < piece + 64; ++t) part += a.x.data[t * a.x.stride + c];
    sum += part;
  }
  a.y.data[s * a.y.stride + c] = sum / static_cast<float>(end - begin);
}

TAMIS_KERNEL tamis_max_rows(MaxArgs a) {
  const int64_t c = first_element();
  if (c >= a.y.cols) return;
  float best = a.more ? a.y.data[c] : a.x.data[c];
  for (int64_t r = a.more ? 0 : 1; r < a.x.rows; ++r) {
    best = larger(best, a.x.data[r * a.x.stride + c]);
  }
  a.y.data[c] = best;
}

TAMIS_KERNEL tamis_l2_normalize(NormalizeArgs a) {
  TAMIS_SHARED float room[kThreads / 32];
  float* y = a.y.data + static_cast<int64_t>(blockIdx.x) * a.y.stride;
  float squares = 0;
  for (int64_t c = threadIdx.x; c < a.y.cols; c += kThreads) squares += y[c] * y[c];
  // 1e-12: torch.nn.functional.normalize. A NaN stays: the comparison is false for it.
  const float norm = sqrtf(block_sum(squares, room));
  const float scale = 1.0f / (norm < 1e-12f ? 1e-12f : norm);
  for (int64_t c = threadIdx.x; c < a.y.cols; c += kThreads) y[c] *= scale;
}

TAMIS_KERNEL tamis_softmax_rows(SoftmaxArgs a) {
  TAMIS_SHARED float room[kThreads / 32];
  float* x = a.x.data + static_cast<int64_t>(blockIdx.x) * a.x.stride;
  float best = -INFINITY;
  for (int64_t c = threadIdx.x; c < a.x.cols; c += kThreads) best = larger(best, x[c]);
  best = block_max(best, room);
  float sum = 0;
  for (int64_t c = threadIdx.x; c < a.x.cols; c += kThreads) {
    x[c] = expf(x[c] - best);
    sum += x[c];
  }
  const float scale = 1.0f / block_sum(sum, room);
  for (int64_t c = threadIdx.x; c < a.x.cols; c += kThreads) x[c] *= scale;
}

}  // namespace tamis::cuda
