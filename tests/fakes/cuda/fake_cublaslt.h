#pragma once

// What the files of the fake libcublasLt share: descriptors, the product that they describe, and
// its arithmetic.

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <string>

namespace tamis::fakes {

enum class LtKind { kHandle, kLayout, kOperation, kPreference };

/// Attributes by number, as little-endian bytes of their own size.
struct LtDescriptor {
  LtKind kind = LtKind::kHandle;
  std::map<int, uint64_t> values;

  int32_t integer(int attribute) const { return static_cast<int32_t>(values.at(attribute)); }
  int64_t wide(int attribute) const { return static_cast<int64_t>(values.at(attribute)); }
};

/// A copy of a live descriptor; false if it is none, or another kind.
bool find_descriptor(const void* handle, LtKind kind, LtDescriptor& found);

/// The first attribute which the fake does not model and which is not as it was created, or -1.
int unmodelled_attribute(const LtDescriptor& descriptor);

struct LtMatrix {
  cudaDataType_t type = CUDA_R_32F;
  uint64_t rows = 0, cols = 0;
  uint64_t ld = 0, stride = 0;  ///< in elements
  uint64_t batch = 1;

  size_t element_bytes() const { return type == CUDA_R_32F ? 4 : 2; }
  /// From the first byte to the one behind the last.
  size_t bytes() const { return ((batch - 1) * stride + (cols - 1) * ld + rows) * element_bytes(); }
};

/// D = epilogue(alpha · op(A) · op(B) + beta · C), matrices column by column.
struct LtProblem {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  bool transpose_a = false, transpose_b = false;
  bool has_bias = false, has_relu = false;
  const void* bias = nullptr;
  uint64_t bias_stride = 0;
  LtMatrix a, b, c, d;
  uint64_t k = 0;
};

/// A product with its memory.
struct LtProduct {
  LtProblem problem;
  float alpha = 1, beta = 0;
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  void* d = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;  ///< as much as the algorithm uses
};

/// In f32; C is not read if beta is 0.
void multiply(const LtProduct& product);

/// The status, with a complaint.
cublasStatus_t refuse(const char* function, cublasStatus_t status, const std::string& why);

}  // namespace tamis::fakes
