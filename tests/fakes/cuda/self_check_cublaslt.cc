// Checks of the fake libcublasLt against a product in double.

#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "self_check.h"

namespace tamis::fakes {
namespace {

/// Small multiples of 1/8: exact in each of the types, and so are their sums here.
float value_at(size_t i) { return static_cast<float>(static_cast<int>(i * 7 % 13) - 6) / 8; }

/// Exact for these values, and so independent of the library's own conversions.
void put(cudaDataType_t type, void* p, size_t i, float f) {
  const auto bits = std::bit_cast<uint32_t>(f);
  if (type == CUDA_R_32F) {
    static_cast<float*>(p)[i] = f;
  } else if (type == CUDA_R_16BF) {
    static_cast<uint16_t*>(p)[i] = static_cast<uint16_t>(bits >> 16);
  } else {
    const uint32_t exponent = f == 0 ? 0 : (bits >> 23 & 0xFF) - 112;
    static_cast<uint16_t*>(p)[i] =
        static_cast<uint16_t>((bits >> 31) << 15 | exponent << 10 | (bits >> 13 & 0x3FF));
  }
}

double at(cudaDataType_t type, const void* p, size_t i) {
  if (type == CUDA_R_32F) return static_cast<const float*>(p)[i];
  const uint32_t bits = static_cast<const uint16_t*>(p)[i];
  if (type == CUDA_R_16BF) return std::bit_cast<float>(bits << 16);
  const double size =
      (bits >> 10 & 0x1F) == 0
          ? std::ldexp(bits & 0x3FF, -24)
          : std::ldexp((bits & 0x3FF) + 1024, static_cast<int>(bits >> 10 & 0x1F) - 25);
  return (bits & 0x8000) != 0 ? -size : size;
}

size_t width(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

struct Case {
  cudaDataType_t in = CUDA_R_32F, out = CUDA_R_32F;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  bool ta = false, tb = false;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  size_t m = 24, n = 16, k = 40, batch = 1;
  float alpha = 1, beta = 0;
  size_t pad = 8;  ///< elements between the columns
};

/// A product with all that belongs to it, in device memory of its own.
struct Product {
  explicit Product(const Case& made_of);
  ~Product();
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  cublasStatus_t heuristic(uint64_t workspace = 0, uint32_t align_a = 256, int* found = nullptr);
  cublasStatus_t run(cudaStream_t stream, const void* at_a = nullptr, void* space = nullptr,
                     size_t space_bytes = 0);
  void compare();

  Case c;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t la = nullptr, lb = nullptr, ld = nullptr;
  cublasLtMatmulHeuristicResult_t results[2];
  size_t lda, ldb, ldd, size_a, size_b, size_d;
  std::vector<std::byte> host_a, host_b, host_c, host_bias;
  std::byte *a, *b, *d, *bias;
};

cublasLtMatrixLayout_t layout(cudaDataType_t type, size_t rows, size_t cols, size_t ld,
                              size_t batch, size_t stride) {
  cublasLtMatrixLayout_t made = nullptr;
  OK(cublasLtMatrixLayoutCreate(&made, type, rows, cols, static_cast<int64_t>(ld)));
  const auto count = static_cast<int32_t>(batch);
  const auto offset = static_cast<int64_t>(stride);
  OK(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, 4));
  OK(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset,
                                      8));
  return made;
}

std::byte* upload(const std::vector<std::byte>& host) {
  auto* p = device_array<std::byte>(host.size());
  OK(cudaMemcpyAsync(p, host.data(), host.size(), cudaMemcpyHostToDevice, nullptr));
  return p;
}

std::vector<std::byte> filled(cudaDataType_t type, size_t n, size_t shift) {
  std::vector<std::byte> made(n * width(type));
  for (size_t i = 0; i < n; ++i) put(type, made.data(), i, value_at(i + shift));
  return made;
}

Product::Product(const Case& made_of) : c(made_of) {
  lda = (c.ta ? c.k : c.m) + c.pad;
  ldb = (c.tb ? c.n : c.k) + c.pad;
  ldd = c.m + c.pad;
  size_a = lda * (c.ta ? c.m : c.k);
  size_b = ldb * (c.tb ? c.k : c.n);
  size_d = ldd * c.n;
  host_a = filled(c.in, size_a * c.batch, 1);
  host_b = filled(c.in, size_b * c.batch, 5);
  host_c = filled(c.out, size_d * c.batch, 3);
  host_bias = filled(c.out, c.m, 2);
  a = upload(host_a);
  b = upload(host_b);
  d = upload(host_c);
  bias = upload(host_bias);
  OK(cudaStreamSynchronize(nullptr));
  OK(cublasLtCreate(&handle));
  OK(cublasLtMatmulDescCreate(&operation, c.compute, CUDA_R_32F));
  const int32_t ops[] = {c.ta ? CUBLAS_OP_T : CUBLAS_OP_N, c.tb ? CUBLAS_OP_T : CUBLAS_OP_N};
  OK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &ops[0], 4));
  OK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &ops[1], 4));
  OK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &c.epilogue, 4));
  OK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, 8));
  la = layout(c.in, c.ta ? c.k : c.m, c.ta ? c.m : c.k, lda, c.batch, size_a);
  lb = layout(c.in, c.tb ? c.n : c.k, c.tb ? c.k : c.n, ldb, c.batch, size_b);
  ld = layout(c.out, c.m, c.n, ldd, c.batch, size_d);
}

Product::~Product() {
  for (void* p : {a, b, d, bias}) OK(cudaFree(p));
  for (cublasLtMatrixLayout_t l : {la, lb, ld}) OK(cublasLtMatrixLayoutDestroy(l));
  OK(cublasLtMatmulDescDestroy(operation));
  OK(cublasLtDestroy(handle));
}

cublasStatus_t Product::heuristic(uint64_t workspace, uint32_t align_a, int* found) {
  cublasLtMatmulPreference_t preference = nullptr;
  OK(cublasLtMatmulPreferenceCreate(&preference));
  OK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                          &workspace, 8));
  OK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                          &align_a, 4));
  int n = -1;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, operation, la, lb, ld, ld, preference, 2, results, &n);
  CHECK((status == CUBLAS_STATUS_SUCCESS) == (n > 0));
  OK(cublasLtMatmulPreferenceDestroy(preference));
  if (found != nullptr) *found = n;
  return status;
}

cublasStatus_t Product::run(cudaStream_t stream, const void* at_a, void* space,
                            size_t space_bytes) {
  float alpha = c.alpha, beta = c.beta;
  const cublasStatus_t status =
      cublasLtMatmul(handle, operation, &alpha, at_a == nullptr ? a : at_a, la, b, lb, &beta, d, ld,
                     d, ld, &results[0].algo, space, space_bytes, stream);
  alpha = beta = NAN;  // read at the call
  return status;
}

void Product::compare() {
  std::vector<std::byte> got(host_c.size());
  OK(cudaMemcpyAsync(got.data(), d, got.size(), cudaMemcpyDeviceToHost, nullptr));
  const double steps = c.out == CUDA_R_32F ? 0x1p-20 : c.out == CUDA_R_16F ? 0x1p-11 : 0x1p-8;
  for (size_t e = 0; e < c.batch; ++e) {
    for (size_t j = 0; j < c.n; ++j) {
      for (size_t i = 0; i < ldd; ++i) {
        const size_t to = e * size_d + j * ldd + i;
        double sum = at(c.out, host_c.data(), to);
        if (i < c.m) {
          sum *= c.beta;
          for (size_t l = 0; l < c.k; ++l) {
            const size_t ia = e * size_a + (c.ta ? i * lda + l : l * lda + i);
            const size_t ib = e * size_b + (c.tb ? l * ldb + j : j * ldb + l);
            sum += c.alpha * at(c.in, host_a.data(), ia) * at(c.in, host_b.data(), ib);
          }
          if ((c.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) sum += at(c.out, host_bias.data(), i);
          if ((c.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) sum = std::max(sum, 0.0);
        }
        CHECK(std::fabs(at(c.out, got.data(), to) - sum) <= steps * std::max(1.0, std::fabs(sum)));
      }
    }
  }
}

void check_products() {
  constexpr std::pair<cudaDataType_t, cudaDataType_t> kTypes[] = {{CUDA_R_32F, CUDA_R_32F},
                                                                  {CUDA_R_16F, CUDA_R_32F},
                                                                  {CUDA_R_16F, CUDA_R_16F},
                                                                  {CUDA_R_16BF, CUDA_R_32F},
                                                                  {CUDA_R_16BF, CUDA_R_16BF}};
  for (const auto& [in, out] : kTypes) {
    for (const int ops : {0, 1, 2, 3}) {
      for (const cublasLtEpilogue_t epilogue :
           {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU,
            CUBLASLT_EPILOGUE_RELU_BIAS}) {
        Case c{.in = in, .out = out, .ta = (ops & 1) != 0, .tb = (ops & 2) != 0};
        c.epilogue = epilogue;
        c.batch = ops == 3 ? 3 : 1;
        c.alpha = 0.5F;
        // Added to D, once to D as it is: what the products of training do.
        c.beta = epilogue == CUBLASLT_EPILOGUE_BIAS      ? 2.0F
                 : epilogue == CUBLASLT_EPILOGUE_DEFAULT ? 1.0F
                                                         : 0.0F;
        Product product(c);
        OK(product.heuristic());
        OK(product.run(nullptr));
        product.compare();
      }
    }
  }
  Product ragged({.compute = CUBLAS_COMPUTE_32F_FAST_TF32, .m = 7, .n = 5, .k = 3, .pad = 0});
  OK(ragged.heuristic());
  OK(ragged.run(nullptr));
  ragged.compare();
  CHECK(fake_cuda()->complaints().empty());
}

void check_lt_refusals() {
  Product p({.in = CUDA_R_16F, .out = CUDA_R_16F, .k = 32});
  REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, p.heuristic(0, 8));
  OK(p.heuristic(0, 256));
  REFUSED(CUBLAS_STATUS_INVALID_VALUE, p.run(nullptr, p.a + 16));
  OK(p.heuristic(0, 16));
  OK(p.run(nullptr, p.a + 32));  // which reads 16 bytes too far
  REFUSED(cudaErrorIllegalAddress, cudaDeviceSynchronize());
  CHECK(p.run(nullptr) == CUBLAS_STATUS_EXECUTION_FAILED);
  fake_cuda()->heal(0);

  int found = 0;
  const size_t space = p.c.m * p.c.n * 4;
  OK(p.heuristic(space, 256, &found));
  CHECK(found == 2 && p.results[0].workspaceSize == space && p.results[1].workspaceSize == 0);
  auto* workspace = device_array<std::byte>(space);
  REFUSED(CUBLAS_STATUS_INVALID_VALUE, p.run(nullptr, nullptr, workspace, space - 1));
  REFUSED(CUBLAS_STATUS_INVALID_VALUE, p.run(nullptr, nullptr, nullptr, space));
  OK(p.run(nullptr, nullptr, workspace, space));
  p.compare();
  REFUSED(CUBLAS_STATUS_INVALID_VALUE, p.run(reinterpret_cast<cudaStream_t>(0x77)));

  const int32_t gelu = CUBLASLT_EPILOGUE_GELU_BIAS;
  OK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, 4));
  REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, p.heuristic());
  REFUSED(CUBLAS_STATUS_INVALID_VALUE,
          cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, 8));
  size_t written = 0;
  OK(cublasLtMatmulDescGetAttribute(p.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, nullptr, 0,
                                    &written));
  int32_t type = 0;
  OK(cublasLtMatmulDescGetAttribute(p.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, 4,
                                    nullptr));
  CHECK(written == 4 && type == -1);

  Product odd({.in = CUDA_R_16BF, .out = CUDA_R_32F, .pad = 4});
  REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, odd.heuristic());
  Product mixed({.in = CUDA_R_32F, .out = CUDA_R_16F});
  REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, mixed.heuristic());
  Product tf32({.in = CUDA_R_16F, .out = CUDA_R_32F, .compute = CUBLAS_COMPUTE_32F_FAST_TF32});
  REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, tf32.heuristic());
  Product wrong({});
  std::swap(wrong.la, wrong.lb);
  REFUSED(CUBLAS_STATUS_INVALID_VALUE, wrong.heuristic());
  std::swap(wrong.la, wrong.lb);
  const auto narrow = static_cast<int64_t>(wrong.c.m - 1);
  OK(cublasLtMatrixLayoutSetAttribute(wrong.la, CUBLASLT_MATRIX_LAYOUT_LD, &narrow, 8));
  REFUSED(CUBLAS_STATUS_INVALID_VALUE, wrong.heuristic());
  OK(cudaFree(workspace));
}

void check_lt_graph() {
  Product p({.epilogue = CUBLASLT_EPILOGUE_BIAS, .m = 8, .n = 8, .k = 8});
  OK(p.heuristic());
  cudaStream_t s = new_stream();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
  OK(p.run(s));
  OK(cudaStreamEndCapture(s, &graph));
  OK(cudaGraphInstantiate(&exec, graph, 0));
  OK(cudaGraphDestroy(graph));
  fake_cuda()->reset_counters();
  for (int i = 0; i < 3; ++i) {
    OK(cudaMemsetAsync(p.d, 0x7F, p.host_c.size(), s));
    OK(cudaGraphLaunch(exec, s));
  }
  OK(cudaStreamSynchronize(s));
  CHECK(fake_cuda()->counts().matmuls == 3 && fake_cuda()->counts().calls["cublasLtMatmul"] == 0);
  std::memset(p.host_c.data(), 0x7F, p.host_c.size());  // between the columns
  p.compare();
  OK(cudaGraphExecDestroy(exec));
  OK(cudaStreamDestroy(s));
}

}  // namespace

void check_cublaslt() {
  fake_cuda()->set_up(machine(1));
  check_products();
  check_lt_refusals();
  check_lt_graph();
  CHECK(fake_cuda()->live().none());
  CHECK(fake_cuda()->complaints().empty());
}

}  // namespace tamis::fakes
