#pragma once

// Matrix products by cublasLt.

#include <cublasLt.h>

#include <array>
#include <map>
#include <memory>
#include <optional>

#include "backend/cuda/cuda_runtime.h"
#include "numeric/dtype.h"

namespace tamis::cuda {

/// y[b][row][o] = scale * sum over i of x[b][row][i] * w[b][o][i], all row-major, `stride` elements
/// from row to row and `step` from one product of a batch to the next. With by_column, w[b][i][o]
/// is read instead, with x_by_column x[b][i][row]. x and w are of `dtype`, y is f32, sums are f32.
struct Product {
  int64_t rows = 0, in = 0, out = 0;
  const void* x = nullptr;
  int64_t x_stride = 0, x_step = 0;
  const void* w = nullptr;
  int64_t w_stride = 0, w_step = 0;
  float* y = nullptr;
  int64_t y_stride = 0, y_step = 0;
  int batch = 1;
  bool by_column = false;
  bool x_by_column = false;
  bool accumulate = false;  ///< added to what y is; without bias
  float scale = 1;
  DType dtype = DType::kF32;
  const float* bias = nullptr;  ///< [out], added; null = none
  bool relu = false;            ///< after the bias, which must then be there
};

/// Chooses an algorithm once for each shape. Belongs to one stream.
class Matmul {
 public:
  /// Of the room that every algorithm may use. Eight MiB lose little on any card, says NVIDIA's
  /// table of default sizes; not measured here.
  static constexpr size_t kWorkspaceBytes = size_t{8} << 20;

  explicit Matmul(const Card& card);
  ~Matmul();
  void set_workspace(void* workspace) { workspace_ = workspace; }
  /// False if cublasLt has no algorithm for it; then nothing was queued.
  bool run(const Product& product, cudaStream_t stream);

 private:
  struct Plan;
  using Key = std::array<int64_t, 18>;
  const Plan& plan(const Product& product);
  std::unique_ptr<Plan> make_plan(const Product& product) const;
  void check(const char* call, cublasStatus_t status) const;

  const Card& card_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace tamis::cuda
