#pragma once

#include <algorithm>

#include "backend/cuda/kernel_args.h"
#include "backend/cuda/matmul.h"
#include "device/device.h"

namespace tamis::cuda {

/// Room for cublasLt, and for what one op needs: a layer's input in 16 bits, or scores of
/// attention.
size_t scratch_bytes(const ScratchShape& shape);

/// Floats of a row of scores: the product's rows begin at multiples of 16 bytes.
inline int64_t padded_keys(int64_t keys) { return (keys + 3) / 4 * 4; }

/// CUDA's limit for the second and third dimension of a grid.
inline constexpr int64_t kMostGridRows = 65535;

/// Layers of fewer outputs are heads: one dot product a row, for which cublasLt is not made.
inline constexpr int64_t kLeastOutputs = 8;

inline size_t round_up(size_t n) { return (n + 255) / 256 * 256; }
inline unsigned blocks(int64_t n, int64_t of) { return static_cast<unsigned>((n + of - 1) / of); }
/// For kernels that take as many blocks as there are.
inline unsigned some_blocks(int64_t n) {
  return static_cast<unsigned>(std::clamp<int64_t>((n + kThreads - 1) / kThreads, 0, 4096));
}

inline Rows rows(Mat m) { return {m.data, m.rows, m.cols, m.stride}; }
inline ConstRows rows(ConstMat m) { return {m.data, m.rows, m.cols, m.stride}; }

/// Queues kernels and products on one stream of one card. f32 activations; weights of 16 bits make
/// their products in 16 bits with f32 sums.
class CudaOps : public Ops {
 public:
  CudaOps(const Card& card, cudaStream_t stream) : card_(card), stream_(stream), matmul_(card) {}

  void pack_linear(const LinearSource& source, DType dtype, std::byte* out) override;
  void set_scratch(std::span<std::byte> scratch) override;
  void embed_layer_norm(const EmbeddingWeights& weights, const BatchView& batch, Mat out) override;
  void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) override;
  void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& weights,
                      Mat y) override;
  void attention(const AttentionView& a, Mat out) override;
  void gather_rows(ConstMat x, const int32_t* rows, Mat y) override;
  void mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) override;
  void max_rows(ConstMat x, bool more, Mat y) override;
  void l2_normalize(Mat y) override;

 private:
  bool by_cublas(const PackedLinear& weights, ConstMat x, Activation activation, Mat y);
  bool fused_attention(const AttentionView& a, Mat out);
  void plain_attention(const AttentionView& a, Mat out);
  void plain_attention_rows(const AttentionView& a, int64_t sequence, int64_t begin, int64_t end,
                            Mat out);
  template <class Args>
  void launch(const char* name, void (*kernel)(Args), dim3 grid,
              const std::type_identity_t<Args>& args) {
    cuda::launch(card_, name, kernel, grid, kThreads, stream_, args);
  }

  const Card& card_;
  cudaStream_t stream_;
  Matmul matmul_;
  std::span<std::byte> room_;  ///< of the op that runs
};

}  // namespace tamis::cuda
