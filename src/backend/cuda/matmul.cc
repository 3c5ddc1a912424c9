#include "backend/cuda/matmul.h"

#include <algorithm>

#include "base/fail.h"

namespace tamis::cuda {
namespace {

struct LayoutDeleter {
  void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
};
struct DescDeleter {
  void operator()(cublasLtMatmulDesc_t desc) const { cublasLtMatmulDescDestroy(desc); }
};
struct PreferenceDeleter {
  void operator()(cublasLtMatmulPreference_t p) const { cublasLtMatmulPreferenceDestroy(p); }
};
using Layout = Owned<cublasLtMatrixLayout_t, LayoutDeleter>;
using Desc = Owned<cublasLtMatmulDesc_t, DescDeleter>;
using Preference = Owned<cublasLtMatmulPreference_t, PreferenceDeleter>;

/// Shapes come and go with the lengths of texts: the plans of all of them would grow without end.
constexpr size_t kMostPlans = 8192;

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::kF16 ? CUDA_R_16F : dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// What the addresses of every row and every product of a batch are a multiple of, in bytes, up to
/// 256. cublasLt takes 256 for granted where nothing else is said.
uint32_t alignment(const void* data, int64_t stride, int64_t step, size_t element) {
  const auto all = reinterpret_cast<uintptr_t>(data) | static_cast<uintptr_t>(stride) * element |
                   static_cast<uintptr_t>(step) * element | 256;
  return static_cast<uint32_t>(all & (~all + 1));
}

}  // namespace

struct Matmul::Plan {
  Desc desc;
  Layout a, b, d;
  cublasLtMatmulAlgo_t algo;
  bool found = false;
};

Matmul::Matmul(const Card& card) : card_(card) {
  check("cublasLtCreate", cublasLtCreate(&handle_));
}

Matmul::~Matmul() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

void Matmul::check(const char* call, cublasStatus_t status) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
  fail(memory ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable, "{}: {}: {} ({})",
       card_.name, call, cublasLtGetStatusString(status), static_cast<int>(status));
}

// cublasLt's matrices are column-major, so a row-major matrix is its own transpose there: Y^T = W
// X^T, with W^T and X^T as they lie in memory.
std::unique_ptr<Matmul::Plan> Matmul::make_plan(const Product& p) const {
  auto plan = std::make_unique<Plan>();
  cublasLtMatmulDesc_t desc = nullptr;
  check("cublasLtMatmulDescCreate",
        cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  plan->desc.reset(desc);
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
    check("cublasLtMatmulDescSetAttribute",
          cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, p.by_column ? CUBLAS_OP_N : CUBLAS_OP_T);
  set(CUBLASLT_MATMUL_DESC_TRANSB, p.x_by_column ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, p.bias == nullptr ? CUBLASLT_EPILOGUE_DEFAULT
                                     : p.relu          ? CUBLASLT_EPILOGUE_RELU_BIAS
                                                       : CUBLASLT_EPILOGUE_BIAS);
  if (p.bias != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);

  const auto layout = [&](cudaDataType_t type, int64_t rows, int64_t cols, int64_t ld,
                          int64_t step) {
    cublasLtMatrixLayout_t out = nullptr;
    check("cublasLtMatrixLayoutCreate",
          cublasLtMatrixLayoutCreate(&out, type, static_cast<uint64_t>(rows),
                                     static_cast<uint64_t>(cols), ld));
    Layout owned(out);
    const auto attribute = [&](cublasLtMatrixLayoutAttribute_t name, auto value) {
      check("cublasLtMatrixLayoutSetAttribute",
            cublasLtMatrixLayoutSetAttribute(out, name, &value, sizeof value));
    };
    attribute(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t{p.batch});
    attribute(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, step);
    return owned;
  };
  const cudaDataType_t type = data_type(p.dtype);
  plan->a = p.by_column ? layout(type, p.out, p.in, p.w_stride, p.w_step)
                        : layout(type, p.in, p.out, p.w_stride, p.w_step);
  plan->b = p.x_by_column ? layout(type, p.rows, p.in, p.x_stride, p.x_step)
                          : layout(type, p.in, p.rows, p.x_stride, p.x_step);
  plan->d = layout(CUDA_R_32F, p.out, p.rows, p.y_stride, p.y_step);

  cublasLtMatmulPreference_t preference = nullptr;
  check("cublasLtMatmulPreferenceCreate", cublasLtMatmulPreferenceCreate(&preference));
  const Preference owned(preference);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check("cublasLtMatmulPreferenceSetAttribute",
          cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
  };
  const size_t element = size_of(p.dtype);
  const uint32_t d_alignment = alignment(p.y, p.y_stride, p.y_step, sizeof(float));
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.w, p.w_stride, p.w_step, element));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.x, p.x_stride, p.x_step, element));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, d_alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, d_alignment);

  cublasLtMatmulHeuristicResult_t result{};
  int results = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, desc, plan->a.get(), plan->b.get(), plan->d.get(),
                                     plan->d.get(), preference, 1, &result, &results);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check("cublasLtMatmulAlgoGetHeuristic", status);
  plan->found = status == CUBLAS_STATUS_SUCCESS && results > 0 &&
                result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspaceBytes;
  plan->algo = result.algo;
  return plan;
}

const Matmul::Plan& Matmul::plan(const Product& p) {
  const size_t element = size_of(p.dtype);
  // Not whether it accumulates: cublasLt chooses without knowing that.
  const Key key = {p.rows,
                   p.in,
                   p.out,
                   p.x_stride,
                   p.x_step,
                   p.w_stride,
                   p.w_step,
                   p.y_stride,
                   p.y_step,
                   p.batch,
                   p.by_column,
                   p.x_by_column,
                   p.bias != nullptr,
                   p.relu,
                   static_cast<int64_t>(p.dtype),
                   alignment(p.x, p.x_stride, p.x_step, element),
                   alignment(p.w, p.w_stride, p.w_step, element),
                   alignment(p.y, p.y_stride, p.y_step, sizeof(float))};
  const auto it = plans_.find(key);
  if (it != plans_.end()) return *it->second;
  if (plans_.size() >= kMostPlans) plans_.clear();
  return *(plans_[key] = make_plan(p));
}

bool Matmul::run(const Product& p, cudaStream_t stream) {
  const Plan& chosen = plan(p);
  if (!chosen.found) return false;
  if (p.bias != nullptr) {
    check("cublasLtMatmulDescSetAttribute",
          cublasLtMatmulDescSetAttribute(chosen.desc.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                         &p.bias, sizeof p.bias));
  }
  const float beta = p.accumulate ? 1 : 0;
  check("cublasLtMatmul",
        cublasLtMatmul(handle_, chosen.desc.get(), &p.scale, p.w, chosen.a.get(), p.x,
                       chosen.b.get(), &beta, p.y, chosen.d.get(), p.y, chosen.d.get(),
                       &chosen.algo, workspace_, kWorkspaceBytes, stream));
  return true;
}

}  // namespace tamis::cuda
