// The functions of libcublasLt: products of column-major matrices, by plain loops.

#include <cublasLt.h>

#include <algorithm>
#include <cstring>

#include "fake_cuda.h"
#include "numeric/dtype.h"

using namespace tamis::fakes;

namespace {

struct Handle {};

struct Desc {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  cudaDataType_t scale = CUDA_R_32F;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};

struct Layout {
  cudaDataType_t type = CUDA_R_32F;
  uint64_t rows = 0, cols = 0;
  int64_t ld = 0;
  int32_t batch = 1;
  int64_t step = 0;
};

/// The header's defaults.
struct Preference {
  uint64_t workspace = 0;
  uint32_t a = 256, b = 256, c = 256, d = 256;
};

/// What an algorithm was chosen for, kept in the bytes of cublasLtMatmulAlgo_t.
struct Algo {
  uint32_t magic = 0;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  uint32_t workspace = 0;
  uint64_t shape = 0;
};
constexpr uint32_t kMagic = 0x616C676F;
static_assert(sizeof(Algo) <= sizeof(cublasLtMatmulAlgo_t));

template <class T>
T* keep(T* object) {
  state().handles.insert(object);
  return object;
}

template <class T>
cublasStatus_t drop(const void* handle) {
  const std::lock_guard lock(state().mutex);
  if (state().handles.erase(const_cast<void*>(handle)) == 0) {
    complain("cublasLt: destroyed something that it did not make");
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  delete static_cast<const T*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t refuse(const std::string& text,
                      cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE) {
  complain("cublasLt: " + text);
  return status;
}

template <class T>
cublasStatus_t take(T& to, const void* from, size_t bytes, const char* what) {
  if (bytes != sizeof(T) || from == nullptr) {
    return refuse(std::string(what) + ": expected " + std::to_string(sizeof(T)) + " bytes");
  }
  std::memcpy(&to, from, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

size_t element(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

float load(const void* data, cudaDataType_t type, int64_t i) {
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  return type == CUDA_R_16F ? tamis::f16_to_f32(bits) : tamis::bf16_to_f32(bits);
}

/// Sizes of a product as op(a) op(b) = d.
struct Sizes {
  int64_t m = 0, n = 0, k = 0;
};

/// Empty if the four fit together.
std::string check(const Desc& desc, const Layout& a, const Layout& b, const Layout& d, Sizes& out) {
  const bool ta = desc.a == CUBLAS_OP_T, tb = desc.b == CUBLAS_OP_T;
  out = {static_cast<int64_t>(d.rows), static_cast<int64_t>(d.cols),
         static_cast<int64_t>(ta ? a.rows : a.cols)};
  if (static_cast<int64_t>(ta ? a.cols : a.rows) != out.m) return "rows of a and of d differ";
  if (static_cast<int64_t>(tb ? b.rows : b.cols) != out.n) return "columns of b and of d differ";
  if (static_cast<int64_t>(tb ? b.cols : b.rows) != out.k) return "a and b have no common size";
  for (const Layout* l : {&a, &b, &d}) {
    if (l->rows == 0 || l->cols == 0) return "an empty matrix";
    if (l->ld < static_cast<int64_t>(l->rows)) return "a leading dimension less than the rows";
    if (l->batch != d.batch) return "batch counts differ";
  }
  if (a.type != b.type) return "types of a and b differ";
  if (d.type != CUDA_R_32F) return "the fake writes f32 only";
  if (desc.compute != CUBLAS_COMPUTE_32F || desc.scale != CUDA_R_32F) return "compute type";
  return "";
}

uint64_t shape_of(const Sizes& s, const Layout& a, const Layout& b, const Layout& d) {
  uint64_t out = 1469598103934665603u;
  for (const int64_t x : {s.m, s.n, s.k, a.ld, b.ld, d.ld, a.step, b.step, d.step, int64_t{d.batch},
                          int64_t{a.type}}) {
    out = (out ^ static_cast<uint64_t>(x)) * 1099511628211u;
  }
  return out;
}

bool aligned(const void* p, const Layout& l, uint32_t to) {
  const size_t bytes = element(l.type);
  const auto all = reinterpret_cast<uintptr_t>(p) | static_cast<uintptr_t>(l.ld) * bytes |
                   (l.batch > 1 ? static_cast<uintptr_t>(l.step) * bytes : 0);
  return all % to == 0;
}

/// Bytes from the first element of the first matrix to the last of the last.
size_t span(const Layout& l) {
  const auto last = (static_cast<int64_t>(l.cols) - 1) * l.ld + static_cast<int64_t>(l.rows) +
                    (l.batch - 1) * l.step;
  return static_cast<size_t>(last) * element(l.type);
}

struct Work {
  Desc desc;
  Layout a, b, d;
  Sizes size;
  const void *pa, *pb;
  float* pd;
  float alpha;
};

void multiply(const Work& w) {
  std::vector<float> row(static_cast<size_t>(w.size.k)), column(row.size());
  for (int32_t batch = 0; batch < w.d.batch; ++batch) {
    const int64_t a0 = batch * w.a.step, b0 = batch * w.b.step;
    float* d = w.pd + batch * w.d.step;
    for (int64_t n = 0; n < w.size.n; ++n) {
      for (int64_t k = 0; k < w.size.k; ++k) {
        const int64_t at = w.desc.b == CUBLAS_OP_T ? n + k * w.b.ld : k + n * w.b.ld;
        column[static_cast<size_t>(k)] = load(w.pb, w.b.type, b0 + at);
      }
      for (int64_t m = 0; m < w.size.m; ++m) {
        float sum = 0;
        for (int64_t k = 0; k < w.size.k; ++k) {
          const int64_t at = w.desc.a == CUBLAS_OP_T ? k + m * w.a.ld : m + k * w.a.ld;
          sum += load(w.pa, w.a.type, a0 + at) * column[static_cast<size_t>(k)];
        }
        sum *= w.alpha;
        if (w.desc.bias != nullptr) sum += static_cast<const float*>(w.desc.bias)[m];
        const bool relu = w.desc.epilogue == CUBLASLT_EPILOGUE_RELU ||
                          w.desc.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
        d[m + n * w.d.ld] = relu && sum < 0 ? 0 : sum;
      }
    }
  }
}

}  // namespace

extern "C" {

const char* cublasLtGetStatusString(cublasStatus_t) { return "a status of the fake"; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  const std::lock_guard lock(state().mutex);
  *handle = reinterpret_cast<cublasLtHandle_t>(keep(new Handle));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return drop<Handle>(handle); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* out, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  const std::lock_guard lock(state().mutex);
  auto* desc = keep(new Desc);
  desc->compute = compute;
  desc->scale = scale;
  *out = reinterpret_cast<cublasLtMatmulDesc_t>(desc);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return drop<Desc>(desc); }

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const std::lock_guard lock(state().mutex);
  auto& desc = *reinterpret_cast<Desc*>(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(desc.a, value, bytes, "TRANSA");
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(desc.b, value, bytes, "TRANSB");
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(desc.epilogue, value, bytes, "EPILOGUE");
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(desc.bias, value, bytes, "BIAS_POINTER");
    default:
      return refuse("an attribute of a product that the fake does not know");
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* out, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
  const std::lock_guard lock(state().mutex);
  auto* layout = keep(new Layout);
  layout->type = type;
  layout->rows = rows;
  layout->cols = cols;
  layout->ld = ld;
  *out = reinterpret_cast<cublasLtMatrixLayout_t>(layout);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return drop<Layout>(layout);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, size_t bytes) {
  const std::lock_guard lock(state().mutex);
  auto& layout = *reinterpret_cast<Layout*>(handle);
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return take(layout.batch, value, bytes, "BATCH_COUNT");
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return take(layout.step, value, bytes, "STRIDED_BATCH_OFFSET");
    default:
      return refuse("an attribute of a matrix that the fake does not know");
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* out) {
  const std::lock_guard lock(state().mutex);
  *out = reinterpret_cast<cublasLtMatmulPreference_t>(keep(new Preference));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return drop<Preference>(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  const std::lock_guard lock(state().mutex);
  auto& preference = *reinterpret_cast<Preference*>(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(preference.workspace, value, bytes, "MAX_WORKSPACE_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(preference.a, value, bytes, "MIN_ALIGNMENT_A_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(preference.b, value, bytes, "MIN_ALIGNMENT_B_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(preference.c, value, bytes, "MIN_ALIGNMENT_C_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(preference.d, value, bytes, "MIN_ALIGNMENT_D_BYTES");
    default:
      return refuse("a preference that the fake does not know");
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  const std::lock_guard lock(state().mutex);
  ++state().heuristics;
  *found = 0;
  const auto& la = *reinterpret_cast<Layout*>(a);
  const auto& lb = *reinterpret_cast<Layout*>(b);
  const auto& ld = *reinterpret_cast<Layout*>(d);
  const auto& wish = *reinterpret_cast<Preference*>(preference);
  Sizes size;
  const std::string problem = check(*reinterpret_cast<Desc*>(desc), la, lb, ld, size);
  if (!problem.empty()) return refuse("GetHeuristic: " + problem);
  // Tensor cores read 16-bit rows in pieces of 16 bytes.
  if (la.type != CUDA_R_32F && (wish.a < 16 || wish.b < 16)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (wanted < 1) return refuse("GetHeuristic: no result was asked for");
  const Algo algo{kMagic,
                  wish.a,
                  wish.b,
                  wish.c,
                  wish.d,
                  static_cast<uint32_t>(std::min<uint64_t>(wish.workspace, 4096)),
                  shape_of(size, la, lb, ld)};
  results[0] = {};
  std::memcpy(&results[0].algo, &algo, sizeof algo);
  results[0].workspaceSize = algo.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t layout_a, const void* b,
                              cublasLtMatrixLayout_t layout_b, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t layout_d,
                              const cublasLtMatmulAlgo_t* chosen, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  ++state().products;
  if (state().handles.count(handle) == 0) return refuse("no such handle");
  Work w{*reinterpret_cast<Desc*>(desc),
         *reinterpret_cast<Layout*>(layout_a),
         *reinterpret_cast<Layout*>(layout_b),
         *reinterpret_cast<Layout*>(layout_d),
         {},
         a,
         b,
         static_cast<float*>(d),
         *static_cast<const float*>(alpha)};
  const std::string problem = check(w.desc, w.a, w.b, w.d, w.size);
  if (!problem.empty()) return refuse("Matmul: " + problem);
  if (*static_cast<const float*>(beta) != 0 || c != d) return refuse("the fake knows beta 0 only");
  Algo algo;
  std::memcpy(static_cast<void*>(&algo), chosen, sizeof algo);
  if (algo.magic != kMagic || algo.shape != shape_of(w.size, w.a, w.b, w.d)) {
    return refuse("Matmul: the algorithm is of another shape");
  }
  if (!aligned(a, w.a, algo.a) || !aligned(b, w.b, algo.b) || !aligned(d, w.d, algo.d)) {
    return refuse("Matmul: an operand is less aligned than was promised");
  }
  const bool with_bias =
      w.desc.epilogue == CUBLASLT_EPILOGUE_BIAS || w.desc.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
  if (!with_bias) w.desc.bias = nullptr;
  if (with_bias && w.desc.bias == nullptr) return refuse("Matmul: no bias was given");
  Card* card = card_of(stream);
  if (card == nullptr) return refuse("Matmul: no such stream");
  if (card->broken != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  const auto bias_bytes = static_cast<size_t>(w.size.m) * sizeof(float);
  if (!owns(*card, a, span(w.a)) || !owns(*card, b, span(w.b)) || !owns(*card, d, span(w.d)) ||
      (with_bias && !owns(*card, w.desc.bias, bias_bytes)) ||
      (algo.workspace > 0 &&
       (workspace_bytes < algo.workspace || !owns(*card, workspace, workspace_bytes)))) {
    return refuse("Matmul: an operand is outside of the card's memory");
  }
  const cudaError_t error = enqueue(
      stream, state().compute ? Command{"product", [w] { multiply(w); }, nullptr} : Command());
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
