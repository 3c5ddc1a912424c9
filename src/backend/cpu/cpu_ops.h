#pragma once

#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace tamis {

/// How a packed layer lies in memory: panels of nr columns, then the bias.
struct CpuLinearLayout {
  CpuLinearLayout(int64_t in, int64_t out, DType dtype, int64_t nr);
  int64_t panels;
  size_t panel_bytes;  ///< [in][nr] in the storage type
  size_t bias_offset;  ///< f32 [panels * nr], zeros beyond out
  size_t bytes;
};

/// Bytes of scratch that one thread needs.
size_t cpu_scratch_bytes(const kernels::KernelTable& table, const ScratchShape& shape);

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
  void l2_normalize(Mat y) override;

 private:
  /// Calls task(row) for each row, many rows to a task.
  void for_each_row(int64_t rows, int64_t cols, const std::function<void(int64_t)>& task);
  /// This thread's part of the scratch. Errors: internal (`floats` do not fit).
  float* scratch(int thread, size_t floats) const;

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  std::span<std::byte> scratch_;  // a part for each thread
};

}  // namespace tamis
