// The gradient of attention's softmax, with dropout of the probabilities. The products around it
// are cublasLt's.

#include "backend/cuda/dropout.cuh"
#include "backend/cuda/warp.cuh"

namespace tamis::cuda {

// A block for each row. P dP = dropped d_dropped, for what was kept has its scale in it and the
// rest is zero; summed over the keys that is out d_out.
TAMIS_KERNEL tamis_softmax_backward(SoftmaxBackwardArgs a) {
  TAMIS_SHARED float room[kThreads / 32];
  const int64_t r = blockIdx.x, query = r % a.draws.tokens;
  const int64_t column = r / a.draws.tokens * a.head_dim;
  const float* out = a.out.data + query * a.out.stride + column;
  const float* d_out = a.d_out.data + query * a.d_out.stride + column;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < a.head_dim; i += kThreads) sum += out[i] * d_out[i];
  const float through = block_sum(sum, room);
  float* p = a.p.data + r * a.p.stride;
  float* d_p = a.d_p.data + r * a.d_p.stride;
  for (int64_t g = threadIdx.x; g < dropout_groups(a.p.cols); g += kThreads) {
    for_each_drawn(a.draws, r, g, a.p.cols, [&](int64_t c, bool dropped) {
      const float plain = p[c], kept = dropped ? 0.0f : plain * a.draws.scale;
      p[c] = kept;
      d_p[c] = (kept * d_p[c] - plain * through) * a.scale;
    });
  }
}

}  // namespace tamis::cuda
