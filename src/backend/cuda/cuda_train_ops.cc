#include "backend/cuda/cuda_train_ops.h"

#include <algorithm>
#include <cmath>

#include "backend/cuda/cuda_stream.h"
#include "backend/cuda/kernels.h"
#include "base/fail.h"
#include "device/dropout_mask.h"

namespace tamis::cuda {
namespace {

RowSet row_set(const tamis::Rows& rows) { return {rows.ids, rows.count, rows.width, rows.width}; }

FactorArg factor_arg(const Factor& f) {
  return f.transposed ? FactorArg{f.mat.data, 1, f.mat.stride}
                      : FactorArg{f.mat.data, f.mat.stride, 1};
}

/// Rows of 16 bits begin at multiples of 16 bytes, as cublasLt's kernels for them want it.
constexpr int64_t kNarrowPad = 8;
int64_t padded(int64_t cols) { return (cols + kNarrowPad - 1) / kNarrowPad * kNarrowPad; }

int64_t pieces_of(int64_t rows) { return (rows + kSumRows - 1) / kSumRows; }

}  // namespace

DropoutDraws draws_of(const Dropout& dropout, const uint32_t* noise_rows, int64_t tokens) {
  const DropoutMask mask(dropout);
  return {noise_rows, tokens, dropout.seed, dropout.site, mask.threshold(), mask.kept_scale()};
}

void CudaTrainOps::set_scratch(std::span<std::byte> scratch) {
  matmul_.set_workspace(scratch.data());
  room_ = scratch.subspan(Matmul::kWorkspaceBytes);
}

std::byte* CudaTrainOps::room_bytes(size_t bytes) const {
  if (bytes > room_.size()) {
    fail(ErrorCode::kInternal, "{}: an op of training needs {} bytes of scratch, and has {}",
         card_.name, bytes, room_.size());
  }
  return room_.data();
}

size_t CudaTrainOps::scratch_bytes(const TrainShape& s) const {
  const size_t sums = 2 * static_cast<size_t>(s.features * pieces_of(s.tokens)) * sizeof(float);
  // A weight is at least as wide as all heads together.
  const int64_t heads = std::max<int64_t>(1, s.features / std::max<int64_t>(s.head_dim, 1));
  const size_t scores = 2 * attention_floats(heads, s.longest) * sizeof(float);
  // Both operands: tokens or outputs by inputs, a side at most the widest.
  const auto operand = static_cast<size_t>(std::max(s.tokens, s.features) * padded(s.features));
  const size_t narrow = product_dtype_ == DType::kF32 ? 0 : 2 * operand * sizeof(uint16_t);
  return Matmul::kWorkspaceBytes + round_up(std::max({sums, scores, narrow, sizeof square_sums_}));
}

// ---- products

void CudaTrainOps::multiply(const Product& p) {
  use(card_);
  if (matmul_.run(p, stream_)) return;
  fail(ErrorCode::kUnavailable,
       "{}: cublasLt has no algorithm for a product of attention ({} x {} x {}, {} of them)",
       card_.name, p.rows, p.in, p.out, p.batch);
}

bool CudaTrainOps::set_product_dtype(DType dtype) {
  product_dtype_ = dtype;
  return true;
}

const void* CudaTrainOps::narrow(ConstMat x, uint16_t* to) {
  const int64_t stride = padded(x.cols);
  launch("narrow", tamis_narrow, some_blocks(x.rows * stride),
         {rows(x), to, stride, product_dtype_});
  return to;
}

void CudaTrainOps::product(const Factor& a, const Factor& b, const float* bias, bool accumulate,
                           Mat y) {
  if (y.rows == 0 || y.cols == 0) return;
  const int64_t inner = a.cols();
  if (inner > 0 && y.cols >= kLeastOutputs) {
    Product p;
    p.rows = y.rows;
    p.in = inner;
    p.out = y.cols;
    p.x = a.mat.data;
    p.x_stride = a.mat.stride;
    p.x_by_column = a.transposed;
    p.w = b.mat.data;
    p.w_stride = b.mat.stride;
    p.by_column = !b.transposed;
    p.y = y.data;
    p.y_stride = y.stride;
    p.bias = bias;
    p.accumulate = accumulate;
    if (product_dtype_ != DType::kF32) {
      const int64_t a_stride = padded(a.mat.cols), b_stride = padded(b.mat.cols);
      auto* to = room<uint16_t>(static_cast<size_t>(a.mat.rows * a_stride + b.mat.rows * b_stride));
      p.x = narrow(a.mat, to);
      p.w = narrow(b.mat, to + a.mat.rows * a_stride);
      p.x_stride = a_stride;
      p.w_stride = b_stride;
      p.dtype = product_dtype_;
    }
    use(card_);
    if (matmul_.run(p, stream_)) return;
  }
  launch("product", tamis_product, some_blocks(y.rows * y.cols),
         {factor_arg(a), factor_arg(b), inner, bias, rows(y), accumulate});
}

// ---- sums over rows

void CudaTrainOps::add_columns(ConstMat x, float* sums) {
  const int64_t pieces = pieces_of(x.rows);
  auto* parts = room<float>(static_cast<size_t>(pieces * x.cols));
  launch("column_sums", tamis_column_sums,
         dim3(static_cast<unsigned>(pieces), blocks(x.cols, kThreads)),
         {rows(x), {}, nullptr, parts, nullptr});
  launch("add_sums", tamis_add_sums, blocks(x.cols, kThreads), {parts, pieces, x.cols, sums});
}

void CudaTrainOps::layer_norm(ConstMat x, const LayerNormWeights& w, Mat y, float* stats) {
  launch("add_layer_norm", tamis_add_layer_norm, blocks(y.rows, 1),
         {rows(x), {}, w.gamma, w.beta, rows(y), stats, w.eps});
}

void CudaTrainOps::layer_norm_backward(ConstMat d_y, ConstMat x, const float* stats,
                                       const float* gamma, Mat d_x, float* d_gamma, float* d_beta) {
  // First what reads d_y, which d_x may be.
  if (d_gamma != nullptr || d_beta != nullptr) {
    const int64_t pieces = pieces_of(x.rows), all = pieces * x.cols;
    auto* to_beta = room<float>(static_cast<size_t>(2 * all));
    auto* to_gamma = to_beta + all;
    launch("column_sums", tamis_column_sums,
           dim3(static_cast<unsigned>(pieces), blocks(x.cols, kThreads)),
           {rows(d_y), rows(x), stats, to_beta, to_gamma});
    for (const auto& [parts, to] : {std::pair{to_gamma, d_gamma}, {to_beta, d_beta}}) {
      if (to == nullptr) continue;
      launch("add_sums", tamis_add_sums, blocks(x.cols, kThreads), {parts, pieces, x.cols, to});
    }
  }
  launch("layer_norm_backward", tamis_layer_norm_backward, blocks(x.rows, 1),
         {rows(d_y), rows(x), stats, gamma, rows(d_x)});
}

// ---- embeddings

void CudaTrainOps::embed(const EmbeddingWeights& w, const BatchView& batch, Mat out) {
  EmbedArgs args{};
  args.words = w.words;
  args.positions = w.positions;
  args.types = w.types;
  args.ids = batch.ids;
  args.position_ids = batch.positions;
  args.type_ids = batch.type_ids;
  args.word_dtype = w.word_dtype;
  args.out = rows(out);
  launch("embed", tamis_embed, some_blocks(out.rows * out.cols), args);
}

void CudaTrainOps::embed_backward(ConstMat d_out, const BatchView& batch, float* d_words,
                                  float* d_positions, float* d_types) {
  struct Table {
    const int32_t* ids;
    float* gradient;
  };
  for (const Table& t : {Table{batch.ids, d_words}, Table{batch.positions, d_positions},
                         Table{batch.type_ids, d_types}}) {
    if (t.gradient == nullptr) continue;
    launch("add_rows", tamis_add_rows, blocks(d_out.cols, kThreads),
           {rows(d_out), t.ids, t.gradient});
  }
}

// ---- element by element

void CudaTrainOps::activate(Activation f, ConstMat x, Mat y) {
  launch("activate", tamis_activate, some_blocks(y.rows * y.cols), {rows(x), {}, rows(y), f});
}

void CudaTrainOps::activate_backward(Activation f, ConstMat x, ConstMat d_y, Mat d_x) {
  launch("activate_backward", tamis_activate, some_blocks(d_x.rows * d_x.cols),
         {rows(x), rows(d_y), rows(d_x), f});
}

void CudaTrainOps::dropout(ConstMat x, ConstMat residual, const Dropout& dropout,
                           const uint32_t* noise_rows, Mat y) {
  drop(rows(x), rows(residual), rows(y), draws_of(dropout, noise_rows, y.rows));
}

void CudaTrainOps::drop(const ConstRows& x, const ConstRows& residual, const Rows& y,
                        const DropoutDraws& draws) {
  launch("dropout", tamis_dropout, some_blocks(y.rows * blocks(y.cols, kDropoutGroup)),
         {x, residual, y, draws});
}

void CudaTrainOps::scale(Mat x, float factor) {
  launch("scale", tamis_scale, some_blocks(x.rows * x.cols), {rows(x), factor});
}

// ---- rows

void CudaTrainOps::put_rows(ConstMat x, const int32_t* which, Mat y) {
  launch("zero", tamis_zero, some_blocks(y.rows * y.cols),
         {y.data, {nullptr, y.rows, y.cols, y.stride}});
  launch("put_rows", tamis_put_rows, blocks(x.cols, kThreads), {rows(x), which, rows(y)});
}

void CudaTrainOps::mean_rows_backward(ConstMat d_mean, const int32_t* cu_seqlens, Mat d_x) {
  for (int64_t s = 0; s < d_mean.rows; s += kMostGridRows) {
    const ConstMat some = d_mean.row_range(s, std::min(d_mean.rows, s + kMostGridRows));
    launch("spread_rows", tamis_spread_rows,
           dim3(blocks(d_x.cols, kThreads), static_cast<unsigned>(some.rows)),
           {rows(some), cu_seqlens + s, rows(d_x)});
  }
}

// ---- the optimiser

void CudaTrainOps::zero(float* x, const tamis::Rows& which) {
  launch("zero", tamis_zero, some_blocks(which.count * which.width), {x, row_set(which)});
}

double CudaTrainOps::sum_of_squares(const float* x, const tamis::Rows& which) {
  const unsigned count =
      std::min(static_cast<unsigned>(square_sums_.size()), some_blocks(which.count * which.width));
  if (count == 0) return 0;
  auto* on_card = room<double>(count);
  launch("square_sums", tamis_square_sums, count, {x, row_set(which), on_card});
  pinned_.download(square_sums_.data(), on_card, count * sizeof(double), stream_);
  wait_for(
      card_, [&] { return cudaStreamQuery(stream_); }, pinned_.patience());
  pinned_.deliver();
  double sum = 0;
  for (unsigned i = 0; i < count; ++i) sum += square_sums_[i];
  return sum;
}

void CudaTrainOps::adamw(const AdamW& o, const tamis::Rows& which, const float* gradient,
                         float* first, float* second, float* weight) {
  const auto step = static_cast<double>(o.step);
  const double rate = o.learning_rate;
  AdamWArgs args{};
  args.gradient = gradient;
  args.first = first;
  args.second = second;
  args.weight = weight;
  args.rows = row_set(which);
  args.gradient_scale = o.gradient_scale;
  args.beta1 = o.beta1;
  args.beta2 = o.beta2;
  args.epsilon = o.epsilon;
  args.step_size = static_cast<float>(rate / (1 - std::pow(static_cast<double>(o.beta1), step)));
  args.second_correction =
      static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(o.beta2), step)));
  args.kept_weight = static_cast<float>(1 - rate * static_cast<double>(o.weight_decay));
  launch("adamw", tamis_adamw, some_blocks(which.count * which.width), args);
}

}  // namespace tamis::cuda
