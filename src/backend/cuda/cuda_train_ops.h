#pragma once

#include <array>

#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/train_kernel_args.h"

namespace tamis::cuda {

class PinnedPieces;

/// The ops of training, queued on one stream of one card: products by cublasLt, in f32 or with
/// operands rounded to 16 bits (narrow ones always in f32), the rest by small kernels. What is
/// added up is cut into pieces of a fixed size and added in a fixed order. Every call names the
/// card, for a caller may have used another one since.
class CudaTrainOps : public TrainOps {
 public:
  CudaTrainOps(const Card& card, cudaStream_t stream, PinnedPieces& pinned)
      : card_(card), stream_(stream), pinned_(pinned), matmul_(card) {}

  size_t scratch_bytes(const TrainShape& shape) const override;
  void set_scratch(std::span<std::byte> scratch) override;
  bool set_product_dtype(DType dtype) override;
  void product(const Factor& a, const Factor& b, const float* bias, bool accumulate,
               Mat y) override;
  void add_columns(ConstMat x, float* sums) override;
  void embed(const EmbeddingWeights& weights, const BatchView& batch, Mat out) override;
  void embed_backward(ConstMat d_out, const BatchView& batch, float* d_words, float* d_positions,
                      float* d_types) override;
  void layer_norm(ConstMat x, const LayerNormWeights& weights, Mat y, float* stats) override;
  void layer_norm_backward(ConstMat d_y, ConstMat x, const float* stats, const float* gamma,
                           Mat d_x, float* d_gamma, float* d_beta) override;
  void activate(Activation f, ConstMat x, Mat y) override;
  void activate_backward(Activation f, ConstMat x, ConstMat d_y, Mat d_x) override;
  void dropout(ConstMat x, ConstMat residual, const Dropout& dropout, const uint32_t* noise_rows,
               Mat y) override;
  void scale(Mat x, float factor) override;
  void attention(const TrainAttention& a, Mat out) override;
  void attention_backward(const TrainAttention& a, ConstMat out, ConstMat d_out, Mat d_q, Mat d_k,
                          Mat d_v) override;
  void put_rows(ConstMat x, const int32_t* rows, Mat y) override;
  void mean_rows_backward(ConstMat d_mean, const int32_t* cu_seqlens, Mat d_x) override;
  void zero(float* x, const tamis::Rows& rows) override;
  /// Waits for the stream.
  double sum_of_squares(const float* x, const tamis::Rows& rows) override;
  void adamw(const AdamW& options, const tamis::Rows& rows, const float* gradient,
             float* first_moment, float* second_moment, float* weight) override;

 private:
  /// Some queries of one sequence, and where their probabilities and gradients of those are.
  struct Chunk {
    int64_t begin, end;       ///< tokens
    int64_t first_key, keys;  ///< the sequence
    Rows p, d_p;              ///< [heads * queries, keys]
    DropoutDraws draws;
    int64_t queries() const { return end - begin; }
  };
  template <class F>
  void for_each_chunk(const TrainAttention& a, const F& f);
  /// p = softmax(q k^T / sqrt(head_dim)) of a chunk.
  void probabilities(const TrainAttention& a, const Chunk& c);
  void drop(const ConstRows& x, const ConstRows& residual, const Rows& y,
            const DropoutDraws& draws);
  void multiply(const Product& product);
  /// The matrix in product_dtype_, rows padded to a multiple of kNarrowPad.
  const void* narrow(ConstMat x, uint16_t* to);

  /// Of the scratch, behind cublasLt's workspace. Errors: internal (there is less).
  template <class T>
  T* room(size_t count) const {
    return reinterpret_cast<T*>(room_bytes(count * sizeof(T)));
  }
  std::byte* room_bytes(size_t bytes) const;
  template <class Args>
  void launch(const char* name, void (*kernel)(Args), dim3 grid,
              const std::type_identity_t<Args>& args) {
    use(card_);
    cuda::launch(card_, name, kernel, grid, kThreads, stream_, args);
  }

  const Card& card_;
  cudaStream_t stream_;
  PinnedPieces& pinned_;
  Matmul matmul_;
  std::span<std::byte> room_;
  DType product_dtype_ = DType::kF32;
  std::array<double, 1024> square_sums_{};  ///< from the card; lives as long as a copy may take
};

/// Floats of the probabilities of a chunk of queries, or of their gradients.
size_t attention_floats(int64_t heads, int64_t longest);

/// What the kernels need to draw the same as DropoutMask.
DropoutDraws draws_of(const Dropout& dropout, const uint32_t* noise_rows, int64_t tokens);

}  // namespace tamis::cuda
