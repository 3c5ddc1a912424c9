// Kernels of training that work on rows and columns: embeddings, norms, activations, dropout, the
// optimiser, and their gradients. No atomics: whatever is added up has one owner and one order.

#include "backend/cuda/dropout.cuh"
#include "backend/cuda/warp.cuh"

namespace tamis::cuda {
namespace {

/// f'(x)
__device__ float derivative(Activation activation, float x) {
  switch (activation) {
    case Activation::kGelu:
      // Phi(x) + x phi(x); erfc keeps the digits of the lower tail.
      return 0.5f * erfcf(x * -0.70710678118654752f) +
             x * 0.39894228040143268f * expf(-0.5f * x * x);
    case Activation::kTanh: {
      const float y = tanhf(x);
      return 1.0f - y * y;
    }
    case Activation::kRelu:
      return x > 0 ? 1.0f : 0.0f;
    case Activation::kNone:
      break;
  }
  return 1.0f;
}

/// Where the i-th number of a set of rows is.
__device__ int64_t place(const RowSet& rows, int64_t i) {
  const int64_t r = i / rows.width;
  const int64_t row = rows.ids != nullptr ? rows.ids[r] : r;
  return row * rows.stride + i % rows.width;
}

}  // namespace

TAMIS_KERNEL tamis_product(ProductArgs a) {
  const int64_t n = a.y.rows * a.y.cols;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t r = i / a.y.cols, c = i % a.y.cols;
    const float* x = a.a.data + r * a.a.row_step;
    const float* w = a.b.data + c * a.b.col_step;
    float sum = 0;
    for (int64_t piece = 0; piece < a.inner; piece += kSumRows) {
      float part = 0;
      for (int64_t k = piece; k < a.inner && k < piece + kSumRows; ++k) {
        part += x[k * a.a.col_step] * w[k * a.b.row_step];
      }
      sum += part;
    }
    float* y = a.y.data + r * a.y.stride + c;
    *y = a.accumulate ? *y + sum : a.bias != nullptr ? sum + a.bias[c] : sum;
  }
}

TAMIS_KERNEL tamis_column_sums(ColumnSumArgs a) {
  const int64_t c = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (c >= a.x.cols) return;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kSumRows;
  float sum = 0, hat_sum = 0;
  for (int64_t r = begin; r < a.x.rows && r < begin + kSumRows; ++r) {
    const float x = a.x.data[r * a.x.stride + c];
    sum += x;
    if (a.stats == nullptr) continue;
    hat_sum += x * (a.normed.data[r * a.normed.stride + c] - a.stats[2 * r]) * a.stats[2 * r + 1];
  }
  const int64_t at = static_cast<int64_t>(blockIdx.x) * a.x.cols + c;
  a.sums[at] = sum;
  if (a.stats != nullptr) a.hat_sums[at] = hat_sum;
}

TAMIS_KERNEL tamis_add_sums(AddSumsArgs a) {
  const int64_t c = first_element();
  if (c >= a.cols) return;
  float sum = a.to[c];
  for (int64_t p = 0; p < a.pieces; ++p) sum += a.sums[p * a.cols + c];
  a.to[c] = sum;
}

TAMIS_KERNEL tamis_embed(EmbedArgs a) {
  const int64_t cols = a.out.cols, n = a.out.rows * cols;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t t = i / cols, c = i % cols;
    a.out.data[t * a.out.stride + c] = load_weight(a.words, a.word_dtype, a.ids[t] * cols + c) +
                                       a.positions[a.position_ids[t] * cols + c] +
                                       a.types[a.type_ids[t] * cols + c];
  }
}

// A column belongs to one thread, which takes the rows in order.
TAMIS_KERNEL tamis_add_rows(AddRowsArgs a) {
  const int64_t c = first_element();
  if (c >= a.x.cols) return;
  for (int64_t r = 0; r < a.x.rows; ++r) {
    a.table[a.rows[r] * a.x.cols + c] += a.x.data[r * a.x.stride + c];
  }
}

// Each column is read and written by the same thread, so d_x may be d_y.
TAMIS_KERNEL tamis_layer_norm_backward(LayerNormBackwardArgs a) {
  TAMIS_SHARED float room[kThreads / 32];
  const int64_t r = blockIdx.x, n = a.x.cols;
  const float* d_y = a.d_y.data + r * a.d_y.stride;
  const float* x = a.x.data + r * a.x.stride;
  float* d_x = a.d_x.data + r * a.d_x.stride;
  const float mean = a.stats[2 * r], scale = a.stats[2 * r + 1];
  float sum = 0, hat_sum = 0;  // of g = gamma d_y, and of g x^
  for (int64_t c = threadIdx.x; c < n; c += kThreads) {
    const float g = a.gamma[c] * d_y[c];
    sum += g;
    hat_sum += g * (x[c] - mean) * scale;
  }
  const float size = static_cast<float>(n);
  const float g_mean = block_sum(sum, room) / size;
  const float hat_mean = block_sum(hat_sum, room) / size;
  for (int64_t c = threadIdx.x; c < n; c += kThreads) {
    const float g = a.gamma[c] * d_y[c], hat = (x[c] - mean) * scale;
    d_x[c] = scale * (g - g_mean - hat * hat_mean);
  }
}

TAMIS_KERNEL tamis_activate(ActivationArgs a) {
  const int64_t n = a.y.rows * a.y.cols;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t r = i / a.y.cols, c = i % a.y.cols;
    const float x = a.x.data[r * a.x.stride + c];
    a.y.data[r * a.y.stride + c] =
        a.d_y.data == nullptr ? activate(a.activation, x)
                              : derivative(a.activation, x) * a.d_y.data[r * a.d_y.stride + c];
  }
}

TAMIS_KERNEL tamis_dropout(DropoutArgs a) {
  const int64_t groups = dropout_groups(a.y.cols), n = a.y.rows * groups;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t r = i / groups;
    const float* x = a.x.data + r * a.x.stride;
    const float* residual = a.residual.data + r * a.residual.stride;
    float* y = a.y.data + r * a.y.stride;
    for_each_drawn(a.draws, r, i % groups, a.y.cols, [&](int64_t c, bool dropped) {
      const float kept = dropped ? 0.0f : x[c] * a.draws.scale;
      y[c] = a.residual.data == nullptr ? kept : kept + residual[c];
    });
  }
}

TAMIS_KERNEL tamis_scale(ScaleArgs a) {
  const int64_t n = a.x.rows * a.x.cols;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    a.x.data[i / a.x.cols * a.x.stride + i % a.x.cols] *= a.factor;
  }
}

// As tamis_gather_rows: a column belongs to one thread.
TAMIS_KERNEL tamis_put_rows(GatherArgs a) {
  const int64_t c = first_element();
  if (c >= a.x.cols) return;
  for (int64_t r = 0; r < a.x.rows; ++r) {
    a.y.data[a.rows[r] * a.y.stride + c] = a.x.data[r * a.x.stride + c];
  }
}

TAMIS_KERNEL tamis_spread_rows(MeanArgs a) {
  const int64_t c = first_element(), s = blockIdx.y;
  if (c >= a.y.cols) return;
  const int64_t begin = a.cu_seqlens[s], end = a.cu_seqlens[s + 1];
  const float part = a.x.data[s * a.x.stride + c] / static_cast<float>(end - begin);
  for (int64_t t = begin; t < end; ++t) a.y.data[t * a.y.stride + c] = part;
}

TAMIS_KERNEL tamis_zero(ZeroArgs a) {
  const int64_t n = a.rows.count * a.rows.width;
  for (int64_t i = first_element(); i < n; i += element_step()) a.x[place(a.rows, i)] = 0;
}

TAMIS_KERNEL tamis_square_sums(SquareSumArgs a) {
  TAMIS_SHARED double room[kThreads];
  const int64_t n = a.rows.count * a.rows.width;
  double sum = 0;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const double x = a.x[place(a.rows, i)];
    sum += x * x;
  }
  room[threadIdx.x] = sum;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
  }
  if (threadIdx.x == 0) a.sums[blockIdx.x] = room[0];
}

TAMIS_KERNEL tamis_adamw(AdamWArgs a) {
  const int64_t n = a.rows.count * a.rows.width;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t at = place(a.rows, i);
    const float g = a.gradient[at] * a.gradient_scale;
    const float m = a.beta1 * a.first[at] + (1.0f - a.beta1) * g;
    const float v = a.beta2 * a.second[at] + (1.0f - a.beta2) * g * g;
    a.first[at] = m;
    a.second[at] = v;
    a.weight[at] = a.weight[at] * a.kept_weight -
                   a.step_size * m / (sqrtf(v) * a.second_correction + a.epsilon);
  }
}

}  // namespace tamis::cuda
