#include "backend/cuda/cuda_ops.h"

#include <algorithm>

#include "backend/cuda/kernels.h"
#include "base/fail.h"
#include "device/plain_linear.h"

namespace tamis::cuda {
namespace {

/// Of scores. Enough for one query of 32 heads over 500,000 keys; more only means fewer, larger
/// products.
constexpr size_t kMostScoreBytes = size_t{64} << 20;
/// 16-bit rows of cublasLt's must begin at multiples of 16 bytes.
constexpr int64_t kNarrowStep = 8;

}  // namespace

size_t scratch_bytes(const ScratchShape& shape) {
  const auto tokens = static_cast<size_t>(shape.tokens);
  const size_t narrow =
      size_of(shape.dtype) == 2 ? tokens * static_cast<size_t>(shape.features) * 2 : 0;
  const size_t query = static_cast<size_t>(shape.heads * padded_keys(shape.tokens)) * sizeof(float);
  const size_t scores = std::max(query, std::min(query * tokens, kMostScoreBytes));
  return Matmul::kWorkspaceBytes + round_up(std::max(narrow, scores));
}

void CudaOps::pack_linear(const LinearSource& source, DType dtype, std::byte* out) {
  pack_plain_linear(source, dtype, out);
}

void CudaOps::set_scratch(std::span<std::byte> scratch) {
  matmul_.set_workspace(scratch.data());
  room_ = scratch.subspan(Matmul::kWorkspaceBytes);
}

void CudaOps::embed_layer_norm(const EmbeddingWeights& w, const BatchView& batch, Mat out) {
  launch("embed_layer_norm", tamis_embed_layer_norm, blocks(out.rows, 1),
         {w.words, w.positions, w.types, batch.ids, batch.positions, batch.type_ids, w.norm.gamma,
          w.norm.beta, w.norm.eps, w.word_dtype, rows(out)});
}

bool CudaOps::by_cublas(const PackedLinear& w, ConstMat x, Activation activation, Mat y) {
  const bool narrow = size_of(w.dtype) == 2;
  if (w.out_features < kLeastOutputs) return false;
  if (narrow && w.in_features % kNarrowStep != 0) return false;
  Product p;
  p.rows = x.rows;
  p.in = w.in_features;
  p.out = w.out_features;
  p.x = x.data;
  p.x_stride = x.stride;
  p.w = w.data;
  p.w_stride = w.in_features;
  p.y = y.data;
  p.y_stride = y.stride;
  p.dtype = w.dtype;
  if (narrow) {
    auto* to = reinterpret_cast<uint16_t*>(room_.data());
    launch("narrow", tamis_narrow, some_blocks(x.rows * x.cols), {rows(x), to, x.cols, w.dtype});
    p.x = to;
    p.x_stride = x.cols;
  }
  // cublasLt's own GELU is the tanh form (PyTorch uses it so), up to 5e-4 from the erf of these
  // models; it has no tanh.
  const bool epilogue = activation == Activation::kNone || activation == Activation::kRelu;
  const float* bias = plain_linear_bias(w);
  if (epilogue) {
    p.bias = bias;
    p.relu = activation == Activation::kRelu;
  }
  if (!matmul_.run(p, stream_)) return false;
  if (!epilogue) {
    launch("bias_activation", tamis_bias_activation, some_blocks(y.rows * y.cols),
           {rows(y), bias, activation});
  }
  return true;
}

void CudaOps::linear(const PackedLinear& w, ConstMat x, Activation activation, Mat y) {
  if (x.rows == 0 || by_cublas(w, x, activation, y)) return;
  launch("dot", tamis_dot, some_blocks(y.rows * y.cols * 32),
         {rows(x), w.data, plain_linear_bias(w), rows(y), w.dtype, activation});
}

void CudaOps::add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& w, Mat y) {
  launch("add_layer_norm", tamis_add_layer_norm, blocks(y.rows, 1),
         {rows(x), rows(residual), w.gamma, w.beta, rows(y), nullptr, w.eps});
}

void CudaOps::gather_rows(ConstMat x, const int32_t* which, Mat y) {
  launch("gather_rows", tamis_gather_rows, blocks(y.cols, kThreads), {rows(x), which, rows(y)});
}

void CudaOps::mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) {
  for (int64_t s = 0; s < y.rows; s += kMostGridRows) {
    const Mat some = y.row_range(s, std::min(y.rows, s + kMostGridRows));
    launch("mean_rows", tamis_mean_rows,
           dim3(blocks(y.cols, kThreads), static_cast<unsigned>(some.rows)),
           {rows(x), cu_seqlens + s, rows(some)});
  }
}

void CudaOps::max_rows(ConstMat x, bool more, Mat y) {
  launch("max_rows", tamis_max_rows, blocks(y.cols, kThreads), {rows(x), rows(y), more});
}

void CudaOps::l2_normalize(Mat y) {
  launch("l2_normalize", tamis_l2_normalize, blocks(y.rows, 1), {rows(y)});
}

}  // namespace tamis::cuda
