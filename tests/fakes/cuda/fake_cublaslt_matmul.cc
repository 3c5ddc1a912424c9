// cublasLtMatmul of the fake libcublasLt and the heuristic before it: what they refuse.

#include <algorithm>
#include <cstring>
#include <memory>

#include "fake_cublaslt.h"
#include "fake_cudart.h"

namespace tamis::fakes {
namespace {

/// What is inside the opaque algorithm.
struct Algo {
  static constexpr uint64_t kMagic = 0x74616d69732d6c74;

  uint64_t magic = 0;
  int32_t compute = 0, type_ab = 0, type_d = 0;
  uint8_t transpose_a = 0, transpose_b = 0;
  uint8_t splits = 0;  ///< sums parts of k in the workspace, which takes D in f32
  uint8_t unused = 0;
  /// The promise of the preference; that of the bias is its pointer as it was then.
  uint32_t align_a = 0, align_b = 0, align_c = 0, align_d = 0, align_bias = 0;

  size_t workspace_bytes(const LtProblem& problem) const {
    return splits != 0 ? problem.d.rows * problem.d.cols * problem.d.batch * sizeof(float) : 0;
  }
};
static_assert(sizeof(Algo) <= sizeof(cublasLtMatmulAlgo_t));

/// No more is asked of a bias: the widest load of a thread.
constexpr uint32_t kMostBiasAlignment = 16;
/// "16-byte alignment" of operands of 16 bits.
constexpr uint32_t kVector = 16;

struct Verdict {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  std::string why;

  bool refused() const { return status != CUBLAS_STATUS_SUCCESS; }
};

Verdict invalid(std::string why) { return {CUBLAS_STATUS_INVALID_VALUE, std::move(why)}; }
Verdict unsupported(std::string why) { return {CUBLAS_STATUS_NOT_SUPPORTED, std::move(why)}; }

std::string shape(const LtMatrix& m) {
  return std::to_string(m.rows) + "x" + std::to_string(m.cols);
}

Verdict read_layout(const char* name, const void* handle, LtMatrix& matrix) {
  LtDescriptor layout;
  if (!find_descriptor(handle, LtKind::kLayout, layout)) {
    return invalid(std::string(name) + ": not a live layout");
  }
  const std::string of = std::string(name) + ": ";
  if (const int other = unmodelled_attribute(layout); other >= 0) {
    return unsupported(of + "layout attribute " + std::to_string(other) + " of the fake");
  }
  const int64_t ld = layout.wide(CUBLASLT_MATRIX_LAYOUT_LD);
  const int64_t stride = layout.wide(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
  const int32_t batch = layout.integer(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
  matrix.type = static_cast<cudaDataType_t>(layout.integer(CUBLASLT_MATRIX_LAYOUT_TYPE));
  matrix.rows = layout.values.at(CUBLASLT_MATRIX_LAYOUT_ROWS);
  matrix.cols = layout.values.at(CUBLASLT_MATRIX_LAYOUT_COLS);
  // "Usually only values that can be expressed as int32_t are supported."
  if (matrix.rows == 0 || matrix.cols == 0 || matrix.rows > INT32_MAX || matrix.cols > INT32_MAX) {
    return invalid(of + "a matrix of " + shape(matrix));
  }
  if (ld < 0 || static_cast<uint64_t>(ld) < matrix.rows) {
    return invalid(of + "leading dimension " + std::to_string(ld) + " of " +
                   std::to_string(matrix.rows) + " rows");
  }
  if (batch < 1 || stride < 0) return invalid(of + "batch count or stride");
  matrix.ld = static_cast<uint64_t>(ld);
  matrix.stride = static_cast<uint64_t>(stride);
  matrix.batch = static_cast<uint64_t>(batch);
  return {};
}

Verdict read_operation(const void* handle, LtProblem& problem) {
  LtDescriptor operation;
  if (!find_descriptor(handle, LtKind::kOperation, operation)) {
    return invalid("not a live matmul descriptor");
  }
  if (const int other = unmodelled_attribute(operation); other >= 0) {
    // "If set for an unsupported [...] combination, calling cublasLtMatmul() will return
    // CUBLAS_INVALID_VALUE" stands at the pointers to scales and maxima.
    const bool pointer = (other >= CUBLASLT_MATMUL_DESC_A_SCALE_POINTER &&
                          other <= CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_AMAX_POINTER) ||
                         other == CUBLASLT_MATMUL_DESC_D_OUT_SCALE_POINTER;
    const std::string why = "matmul attribute " + std::to_string(other);
    return pointer ? invalid(why) : unsupported(why);
  }
  problem.compute =
      static_cast<cublasComputeType_t>(operation.integer(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE));
  if (operation.integer(CUBLASLT_MATMUL_DESC_SCALE_TYPE) != CUDA_R_32F) {
    return unsupported("alpha and beta are not f32");
  }
  for (const int which : {CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB}) {
    const int32_t op = operation.integer(which);
    if (op != CUBLAS_OP_N && op != CUBLAS_OP_T && op != CUBLAS_OP_C) {
      return invalid("transformation " + std::to_string(op));
    }
    // The conjugate of a real matrix is itself.
    (which == CUBLASLT_MATMUL_DESC_TRANSA ? problem.transpose_a : problem.transpose_b) =
        op != CUBLAS_OP_N;
  }
  const int32_t epilogue = operation.integer(CUBLASLT_MATMUL_DESC_EPILOGUE);
  if (epilogue != CUBLASLT_EPILOGUE_DEFAULT && epilogue != CUBLASLT_EPILOGUE_BIAS &&
      epilogue != CUBLASLT_EPILOGUE_RELU && epilogue != CUBLASLT_EPILOGUE_RELU_BIAS) {
    return unsupported("epilogue " + std::to_string(epilogue));
  }
  problem.has_bias = (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
  problem.has_relu = (epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
  problem.bias =
      reinterpret_cast<const void*>(operation.values.at(CUBLASLT_MATMUL_DESC_BIAS_POINTER));
  const int64_t bias_stride = operation.wide(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE);
  if (bias_stride < 0) return invalid("negative stride of the bias");
  problem.bias_stride = static_cast<uint64_t>(bias_stride);
  // "Bias vector elements are the same type as the elements of output matrix (Dtype)"
  const int32_t bias_type = operation.integer(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
  if (problem.has_bias && bias_type != -1 && bias_type != problem.d.type) {
    return unsupported("a bias of type " + std::to_string(bias_type) + " with D of type " +
                       std::to_string(problem.d.type));
  }
  return {};
}

bool types_fit(const LtProblem& p) {
  const cudaDataType_t in = p.a.type, out = p.d.type;
  if (p.b.type != in || p.c.type != out) return false;
  if (in == CUDA_R_32F) {
    return out == CUDA_R_32F &&
           (p.compute == CUBLAS_COMPUTE_32F || p.compute == CUBLAS_COMPUTE_32F_FAST_TF32);
  }
  // Nothing is left to convert down to TF32.
  return (in == CUDA_R_16F || in == CUDA_R_16BF) && (out == CUDA_R_32F || out == in) &&
         p.compute == CUBLAS_COMPUTE_32F;
}

/// Whether two matrices of the batch have an element in common.
bool batches_overlap(const LtMatrix& m) {
  for (uint64_t i = 1; i < m.batch; ++i) {
    const uint64_t col = i * m.stride / m.ld, row = i * m.stride % m.ld;
    if (col < m.cols && row < m.rows) return true;
    if (col + 1 < m.cols && m.ld - row < m.rows) return true;
  }
  return false;
}

Verdict read_problem(const void* operation, const void* a, const void* b, const void* c,
                     const void* d, LtProblem& p) {
  if (Verdict v = read_layout("A", a, p.a); v.refused()) return v;
  if (Verdict v = read_layout("B", b, p.b); v.refused()) return v;
  if (Verdict v = read_layout("C", c, p.c); v.refused()) return v;
  if (Verdict v = read_layout("D", d, p.d); v.refused()) return v;
  if (Verdict v = read_operation(operation, p); v.refused()) return v;
  if (!types_fit(p)) return unsupported("this combination of types");
  p.k = p.transpose_a ? p.a.rows : p.a.cols;
  const uint64_t m = p.transpose_a ? p.a.cols : p.a.rows;
  const uint64_t n = p.transpose_b ? p.b.rows : p.b.cols;
  const uint64_t k_of_b = p.transpose_b ? p.b.cols : p.b.rows;
  if (k_of_b != p.k || p.d.rows != m || p.d.cols != n || p.c.rows != m || p.c.cols != n) {
    return invalid("the shapes do not fit: A " + shape(p.a) + (p.transpose_a ? "^T" : "") + ", B " +
                   shape(p.b) + (p.transpose_b ? "^T" : "") + ", C " + shape(p.c) + ", D " +
                   shape(p.d));
  }
  if (p.a.batch != p.d.batch || p.b.batch != p.d.batch || p.c.batch != p.d.batch) {
    return invalid("the batch counts differ");
  }
  if (batches_overlap(p.d)) return invalid("the matrices of the batch of D overlap");
  for (const LtMatrix* matrix : {&p.a, &p.b, &p.c, &p.d}) {
    if (matrix->element_bytes() != 2) continue;
    const bool strides_fit = matrix->batch == 1 || matrix->stride * 2 % kVector == 0;
    if (matrix->ld * 2 % kVector != 0 || !strides_fit) {
      return unsupported(
          "a leading dimension or stride of 16-bit elements that is not a multiple "
          "of 16 bytes");
    }
  }
  return {};
}

/// An algorithm for the problem with these promises, or why there is none.
Verdict choose(const LtProblem& p, const LtDescriptor& preference, Algo& algo) {
  algo.magic = Algo::kMagic;
  algo.compute = p.compute;
  algo.type_ab = p.a.type;
  algo.type_d = p.d.type;
  algo.transpose_a = p.transpose_a ? 1 : 0;
  algo.transpose_b = p.transpose_b ? 1 : 0;
  const auto promise = [&](int attribute, const LtMatrix& matrix, uint32_t& align) {
    align = static_cast<uint32_t>(preference.integer(attribute));
    const uint32_t needed = matrix.element_bytes() == 2 ? kVector : 4;
    return align >= needed && (align & (align - 1)) == 0;
  };
  if (!promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.a, algo.align_a) ||
      !promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.b, algo.align_b) ||
      !promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.c, algo.align_c) ||
      !promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.d, algo.align_d)) {
    return unsupported("no algorithm for so little alignment");
  }
  algo.align_bias = kMostBiasAlignment;
  while (reinterpret_cast<uintptr_t>(p.bias) % algo.align_bias != 0) algo.align_bias /= 2;
  return {};
}

LtDescriptor default_preference() {
  LtDescriptor made{LtKind::kPreference, {}};
  for (const int attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    made.values[attribute] = 256;
  }
  return made;
}

bool aligned(const void* p, uint32_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

Verdict check_algo(const LtProduct& product, const Algo& algo, size_t workspace_bytes) {
  const LtProblem& p = product.problem;
  if (algo.magic != Algo::kMagic) return invalid("the algorithm is not of a heuristic");
  if (algo.compute != p.compute || algo.type_ab != p.a.type || algo.type_d != p.d.type ||
      (algo.transpose_a != 0) != p.transpose_a || (algo.transpose_b != 0) != p.transpose_b) {
    return invalid("the algorithm was chosen for other types or transpositions");
  }
  if (!aligned(product.a, algo.align_a) || !aligned(product.b, algo.align_b) ||
      !aligned(product.c, algo.align_c) || !aligned(product.d, algo.align_d)) {
    return invalid("a matrix is less aligned than the heuristic was promised");
  }
  if (p.has_bias && !aligned(p.bias, algo.align_bias)) {
    return invalid("the bias is less aligned than that which the heuristic was shown");
  }
  const size_t needed = algo.workspace_bytes(p);
  if (needed > workspace_bytes || (needed != 0 && product.workspace == nullptr)) {
    return invalid("the algorithm needs a workspace of " + std::to_string(needed) + " bytes, got " +
                   std::to_string(workspace_bytes));
  }
  return {};
}

void run_product(void* state) {
  const auto& product = *static_cast<const LtProduct*>(state);
  const LtProblem& p = product.problem;
  fake_cuda()->count_matmul();
  bool good = fake_cuda_operand(product.a, p.a.bytes(), "cublasLtMatmul A") != 0;
  good &= fake_cuda_operand(product.b, p.b.bytes(), "cublasLtMatmul B") != 0;
  good &= fake_cuda_operand(product.d, p.d.bytes(), "cublasLtMatmul D") != 0;
  if (product.beta != 0) {
    good &= fake_cuda_operand(product.c, p.c.bytes(), "cublasLtMatmul C") != 0;
  }
  if (p.has_bias) {
    const size_t length = (p.d.batch - 1) * p.bias_stride + p.d.rows;
    good &= fake_cuda_operand(p.bias, length * p.d.element_bytes(), "cublasLtMatmul bias") != 0;
  }
  if (product.workspace_bytes != 0) {
    good &= fake_cuda_operand(product.workspace, product.workspace_bytes,
                              "cublasLtMatmul workspace") != 0;
  }
  if (!good) return;
  // What somebody keeps in the workspace is lost.
  if (product.workspace_bytes != 0) std::memset(product.workspace, 0xFF, product.workspace_bytes);
  multiply(product);
}

}  // namespace
}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference_handle, int requested,
    cublasLtMatmulHeuristicResult_t results[], int* returned) {
  constexpr const char* name = "cublasLtMatmulAlgoGetHeuristic";
  fake_cuda()->count_call(name);
  fake_cuda()->count_heuristic();
  LtDescriptor context, preference;
  if (!find_descriptor(handle, LtKind::kHandle, context)) {
    return refuse(name, CUBLAS_STATUS_NOT_INITIALIZED, "not a live handle");
  }
  if (requested <= 0 || results == nullptr || returned == nullptr) {
    return refuse(name, CUBLAS_STATUS_INVALID_VALUE, "no room for a result");
  }
  *returned = 0;
  if (!find_descriptor(preference_handle, LtKind::kPreference, preference)) {
    return refuse(name, CUBLAS_STATUS_INVALID_VALUE, "not a live preference");
  }
  if (const int other = unmodelled_attribute(preference); other >= 0) {
    return refuse(name, CUBLAS_STATUS_NOT_SUPPORTED, "the search mode");
  }
  LtProblem problem;
  Algo algo;
  Verdict verdict = read_problem(operation, a, b, c, d, problem);
  if (!verdict.refused()) verdict = choose(problem, preference, algo);
  if (verdict.refused()) return refuse(name, verdict.status, verdict.why);

  // The faster one sums parts of k in the workspace, if it may.
  const auto schemes =
      static_cast<uint32_t>(preference.integer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK));
  const uint64_t most = preference.values.at(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
  for (const uint8_t splits : {uint8_t{1}, uint8_t{0}}) {
    algo.splits = splits;
    const size_t needed = algo.workspace_bytes(problem);
    if (splits != 0 && (needed > most || (schemes & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) == 0)) {
      continue;
    }
    if (*returned == requested) break;
    cublasLtMatmulHeuristicResult_t& result = results[(*returned)++];
    result = {};
    std::memcpy(&result.algo, &algo, sizeof algo);
    result.workspaceSize = needed;
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  constexpr const char* name = "cublasLtMatmul";
  fake_cuda()->count_call(name);
  LtDescriptor context;
  if (!find_descriptor(handle, LtKind::kHandle, context)) {
    return refuse(name, CUBLAS_STATUS_NOT_INITIALIZED, "not a live handle");
  }
  for (const void* p : {alpha, a, b, beta, c, static_cast<const void*>(d)}) {
    if (p == nullptr) return refuse(name, CUBLAS_STATUS_INVALID_VALUE, "null pointer");
  }
  auto product = std::make_unique<LtProduct>();
  LtProblem& problem = product->problem;
  Verdict verdict = read_problem(operation, a_layout, b_layout, c_layout, d_layout, problem);
  if (verdict.refused()) return refuse(name, verdict.status, verdict.why);
  std::memcpy(&product->alpha, alpha, sizeof(float));
  std::memcpy(&product->beta, beta, sizeof(float));
  product->a = a;
  product->b = b;
  product->c = c;
  product->d = d;
  product->workspace = workspace;

  Algo chosen;
  if (algo != nullptr) {
    std::memcpy(static_cast<void*>(&chosen), algo, sizeof chosen);
  } else {
    verdict = choose(problem, default_preference(), chosen);  // none given: as with defaults
    if (verdict.refused()) return refuse(name, verdict.status, verdict.why);
  }
  verdict = check_algo(*product, chosen, workspace_bytes);
  if (verdict.refused()) return refuse(name, verdict.status, verdict.why);
  product->workspace_bytes = chosen.workspace_bytes(problem);
  if (problem.has_bias && problem.bias == nullptr) {
    return refuse(name, CUBLAS_STATUS_INVALID_VALUE, "the epilogue has no bias");
  }
  if (d == a || d == b) return refuse(name, CUBLAS_STATUS_INVALID_VALUE, "D is also A or B");
  if (d == c && product->beta != 0 &&
      (problem.c.ld != problem.d.ld || problem.c.stride != problem.d.stride)) {
    return refuse(name, CUBLAS_STATUS_INVALID_VALUE, "D is C, with another layout");
  }
  const cudaError_t error =
      fake_cuda_enqueue(stream, name, run_product, product.release(),
                        [](void* state) { delete static_cast<LtProduct*>(state); });
  if (error == cudaSuccess) return CUBLAS_STATUS_SUCCESS;
  // A stream that is none, or of another device, is a parameter in conflict; the rest comes from
  // cuda.
  return error == cudaErrorInvalidResourceHandle ? CUBLAS_STATUS_INVALID_VALUE
                                                 : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
