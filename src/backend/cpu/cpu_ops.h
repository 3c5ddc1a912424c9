#pragma once

#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace tamis {

/// Ops on the cores of a pool: each call splits its rows, columns or heads into tasks.
class CpuOps : public Ops {
 public:
  CpuOps(const kernels::KernelTable& table, ThreadPool& pool);

  std::unique_ptr<PackedLinear> pack_linear(const LinearSource& source) override;
  size_t linear_bytes(int64_t in_features, int64_t out_features) const override;
  void embed_layer_norm(const EmbeddingWeights& weights, const BatchView& batch, Mat out) override;
  void linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) override;
  void add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& weights,
                      Mat y) override;
  void attention(const AttentionView& a, Mat out) override;
  void gather_rows(ConstMat x, std::span<const int32_t> rows, Mat y) override;
  void mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) override;
  void l2_normalize(Mat y) override;

 private:
  /// Calls task(row) for each row, many rows to a task.
  void for_each_row(int64_t rows, int64_t cols, const std::function<void(int64_t)>& task);
  /// Scratch of at least `floats` for every thread.
  void reserve_scratch(size_t floats);

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  std::vector<FloatBuffer> scratch_;  // by thread
};

}  // namespace tamis
