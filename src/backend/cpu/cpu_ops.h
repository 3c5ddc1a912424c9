#pragma once

#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace tamis {

/// How a packed layer lies in memory: panels of nr columns, then what belongs to all of them.
struct CpuLinearLayout {
  CpuLinearLayout(int64_t in, int64_t out, DType dtype, int64_t nr);
  int64_t panels;
  size_t panel_bytes;  ///< [in][nr] in the storage type; kernels::Int8Panel
  size_t tail;  ///< f32 [panels * nr], the bias, zeros beyond out; int8: s32 [1 + slots], outliers
  size_t bytes;
};

/// Bytes of scratch that the ops of a stream with so many threads need. An op may use all of it:
/// int8 layers for the quantised activations, which all threads share, and the rest, as other ops
/// the whole, for a part for each thread.
size_t cpu_scratch_bytes(const kernels::KernelTable& table, const ScratchShape& shape, int threads);

/// Ops on the cores of a pool: each call splits its rows, columns or heads into tasks.
class CpuOps : public Ops {
 public:
  CpuOps(const kernels::KernelTable& table, ThreadPool& pool) : table_(table), pool_(pool) {}

  void pack_linear(const LinearSource& source, DType dtype, std::byte* out) override;
  void set_scratch(std::span<std::byte> scratch) override { scratch_ = scratch; }
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
  /// Calls task(row, thread) for each row, many rows to a task.
  void for_each_row(int64_t rows, int64_t cols, const std::function<void(int64_t, int)>& task);
  /// This thread's part of `all`. Errors: internal (`bytes` do not fit).
  std::byte* part_of(std::span<std::byte> all, int thread, size_t bytes) const;
  void linear_int8(const PackedLinear& weights, ConstMat x, Activation activation, Mat y);

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  std::span<std::byte> scratch_;
};

}  // namespace tamis
