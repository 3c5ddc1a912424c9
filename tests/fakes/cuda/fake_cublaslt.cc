// A libcublasLt without a card: handles, descriptors and their attributes. Sizes and defaults of
// attributes are those of the comments in cublasLt.h.

#include "fake_cublaslt.h"

#include <cstring>
#include <memory>
#include <mutex>

#include "fake_cudart.h"

namespace tamis::fakes {
namespace {

struct Attribute {
  int number;
  size_t bytes;
  int64_t initial;
  bool modelled;  ///< the fake does what it says, or it is a hint
};

constexpr Attribute kLayout[] = {
    {CUBLASLT_MATRIX_LAYOUT_TYPE, 4, 0, true},
    {CUBLASLT_MATRIX_LAYOUT_ORDER, 4, CUBLASLT_ORDER_COL, false},
    {CUBLASLT_MATRIX_LAYOUT_ROWS, 8, 0, true},
    {CUBLASLT_MATRIX_LAYOUT_COLS, 8, 0, true},
    {CUBLASLT_MATRIX_LAYOUT_LD, 8, 0, true},
    {CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 4, 1, true},
    {CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 8, 0, true},
    {CUBLASLT_MATRIX_LAYOUT_PLANE_OFFSET, 8, 0, false},
    {CUBLASLT_MATRIX_LAYOUT_BATCH_MODE, 4, CUBLASLT_BATCH_MODE_STRIDED, false},
};

constexpr Attribute kOperation[] = {
    {CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, 4, 0, true},
    {CUBLASLT_MATMUL_DESC_SCALE_TYPE, 4, 0, true},
    {CUBLASLT_MATMUL_DESC_POINTER_MODE, 4, CUBLASLT_POINTER_MODE_HOST, false},
    {CUBLASLT_MATMUL_DESC_TRANSA, 4, CUBLAS_OP_N, true},
    {CUBLASLT_MATMUL_DESC_TRANSB, 4, CUBLAS_OP_N, true},
    {CUBLASLT_MATMUL_DESC_TRANSC, 4, CUBLAS_OP_N, false},
    {CUBLASLT_MATMUL_DESC_FILL_MODE, 4, CUBLAS_FILL_MODE_FULL, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE, 4, CUBLASLT_EPILOGUE_DEFAULT, true},
    {CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8, 0, true},
    {CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, 8, 0, true},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_ALPHA_VECTOR_BATCH_STRIDE, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, 4, 0, true},
    {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_C_SCALE_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_D_SCALE_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_AMAX_D_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, 4, -1, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_SCALE_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_AMAX_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_FAST_ACCUM, 1, 0, true},
    {CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, 4, -1, true},
    {CUBLASLT_MATMUL_DESC_A_SCALE_MODE, 4, 0, false},
    {CUBLASLT_MATMUL_DESC_B_SCALE_MODE, 4, 0, false},
    {CUBLASLT_MATMUL_DESC_C_SCALE_MODE, 4, 0, false},
    {CUBLASLT_MATMUL_DESC_D_SCALE_MODE, 4, 0, false},
    {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_SCALE_MODE, 4, 0, false},
    {CUBLASLT_MATMUL_DESC_D_OUT_SCALE_POINTER, 8, 0, false},
    {CUBLASLT_MATMUL_DESC_D_OUT_SCALE_MODE, 4, 0, false},
    {CUBLASLT_MATMUL_DESC_EMULATION_DESCRIPTOR, 8, 0, false},
};

constexpr Attribute kPreference[] = {
    {CUBLASLT_MATMUL_PREF_SEARCH_MODE, 4, CUBLASLT_SEARCH_BEST_FIT, false},
    {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 8, 0, true},
    {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 4, CUBLASLT_REDUCTION_SCHEME_MASK, true},
    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 4, 256, true},
    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 4, 256, true},
    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 4, 256, true},
    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 4, 256, true},
    {CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT, 4, 0, true},
    {CUBLASLT_MATMUL_PREF_IMPL_MASK, 8, -1, true},
};

struct Table {
  const Attribute* begin = nullptr;
  const Attribute* end = nullptr;
};

Table table_of(LtKind kind) {
  switch (kind) {
    case LtKind::kLayout:
      return {std::begin(kLayout), std::end(kLayout)};
    case LtKind::kOperation:
      return {std::begin(kOperation), std::end(kOperation)};
    case LtKind::kPreference:
      return {std::begin(kPreference), std::end(kPreference)};
    default:
      return {};
  }
}

const Attribute* find_attribute(LtKind kind, int number) {
  const Table table = table_of(kind);
  for (const Attribute* a = table.begin; a != table.end; ++a) {
    if (a->number == number) return a;
  }
  return nullptr;
}

uint64_t initial_bits(const Attribute& attribute) {
  uint64_t bits = 0;
  std::memcpy(&bits, &attribute.initial, attribute.bytes);
  return bits;
}

/// All that lives. Never destroyed, as the fake libcudart. Values of handles are not used twice.
struct Registry {
  std::mutex mutex;
  uintptr_t next = 0x20000;
  std::map<uintptr_t, LtDescriptor> live;
};

Registry& registry() {
  static auto* made = new Registry;
  return *made;
}

template <typename T>
cublasStatus_t create(const char* function, T* result, LtKind kind,
                      const std::map<int, uint64_t>& values = {}) {
  fake_cuda()->count_call(function);
  if (result == nullptr) return refuse(function, CUBLAS_STATUS_INVALID_VALUE, "null result");
  LtDescriptor made{kind, values};
  const Table table = table_of(kind);
  for (const Attribute* a = table.begin; a != table.end; ++a) {
    made.values.emplace(a->number, initial_bits(*a));  // unless given
  }
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  *result = reinterpret_cast<T>(all.next);
  all.live[all.next++] = std::move(made);
  fake_cuda()->count_lt_objects(1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t destroy(const char* function, const void* handle, LtKind kind) {
  fake_cuda()->count_call(function);
  Registry& all = registry();
  {
    const std::lock_guard lock(all.mutex);
    const auto known = all.live.find(reinterpret_cast<uintptr_t>(handle));
    if (known != all.live.end() && known->second.kind == kind) {
      all.live.erase(known);
      fake_cuda()->count_lt_objects(-1);
      return CUBLAS_STATUS_SUCCESS;
    }
  }
  return refuse(
      function,
      kind == LtKind::kHandle ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_INVALID_VALUE,
      "not a live object");
}

cublasStatus_t set(const char* function, const void* handle, LtKind kind, int number,
                   const void* from, size_t bytes) {
  fake_cuda()->count_call(function);
  const Attribute* attribute = find_attribute(kind, number);
  if (attribute == nullptr) {
    return refuse(function, CUBLAS_STATUS_INVALID_VALUE, "no attribute " + std::to_string(number));
  }
  if (from == nullptr || bytes != attribute->bytes) {
    return refuse(function, CUBLAS_STATUS_INVALID_VALUE,
                  "attribute " + std::to_string(number) + " has " +
                      std::to_string(attribute->bytes) + " bytes, not " + std::to_string(bytes));
  }
  Registry& all = registry();
  {
    const std::lock_guard lock(all.mutex);
    const auto known = all.live.find(reinterpret_cast<uintptr_t>(handle));
    if (known != all.live.end() && known->second.kind == kind) {
      uint64_t bits = 0;
      std::memcpy(&bits, from, bytes);
      known->second.values[number] = bits;
      return CUBLAS_STATUS_SUCCESS;
    }
  }
  return refuse(function, CUBLAS_STATUS_INVALID_VALUE, "not a live descriptor");
}

cublasStatus_t get(const char* function, const void* handle, LtKind kind, int number, void* to,
                   size_t bytes, size_t* written) {
  fake_cuda()->count_call(function);
  LtDescriptor descriptor;
  const Attribute* attribute = find_attribute(kind, number);
  if (attribute == nullptr || !find_descriptor(handle, kind, descriptor)) {
    return refuse(function, CUBLAS_STATUS_INVALID_VALUE, "no such attribute or descriptor");
  }
  if (bytes == 0 ? written == nullptr : to == nullptr || bytes != attribute->bytes) {
    return refuse(function, CUBLAS_STATUS_INVALID_VALUE, "null pointer or wrong size");
  }
  if (bytes != 0) std::memcpy(to, &descriptor.values.at(number), bytes);
  if (written != nullptr) *written = attribute->bytes;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

bool find_descriptor(const void* handle, LtKind kind, LtDescriptor& found) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto known = all.live.find(reinterpret_cast<uintptr_t>(handle));
  if (known == all.live.end() || known->second.kind != kind) return false;
  found = known->second;
  return true;
}

int unmodelled_attribute(const LtDescriptor& descriptor) {
  const Table table = table_of(descriptor.kind);
  for (const Attribute* a = table.begin; a != table.end; ++a) {
    if (!a->modelled && descriptor.values.at(a->number) != initial_bits(*a)) return a->number;
  }
  return -1;
}

cublasStatus_t refuse(const char* function, cublasStatus_t status, const std::string& why) {
  fake_cuda()->complain(std::string(function) + ": " + why);
  return status;
}

}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (fake_cuda()->setup().devices.empty()) {
    fake_cuda()->count_call("cublasLtCreate");
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  return create("cublasLtCreate", handle, LtKind::kHandle);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroy("cublasLtDestroy", handle, LtKind::kHandle);
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "CUBLAS_STATUS_LICENSE_ERROR";
    default:
      return "unknown cublasStatus_t";
  }
}

const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
  return create("cublasLtMatrixLayoutCreate", layout, LtKind::kLayout,
                {{CUBLASLT_MATRIX_LAYOUT_TYPE, static_cast<uint32_t>(type)},
                 {CUBLASLT_MATRIX_LAYOUT_ROWS, rows},
                 {CUBLASLT_MATRIX_LAYOUT_COLS, cols},
                 {CUBLASLT_MATRIX_LAYOUT_LD, static_cast<uint64_t>(ld)}});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy("cublasLtMatrixLayoutDestroy", layout, LtKind::kLayout);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* from, size_t bytes) {
  return set("cublasLtMatrixLayoutSetAttribute", layout, LtKind::kLayout, attribute, from, bytes);
}

cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, void* to,
                                                size_t bytes, size_t* written) {
  return get("cublasLtMatrixLayoutGetAttribute", layout, LtKind::kLayout, attribute, to, bytes,
             written);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation,
                                        cublasComputeType_t compute, cudaDataType_t scale) {
  return create("cublasLtMatmulDescCreate", operation, LtKind::kOperation,
                {{CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, static_cast<uint32_t>(compute)},
                 {CUBLASLT_MATMUL_DESC_SCALE_TYPE, static_cast<uint32_t>(scale)}});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  return destroy("cublasLtMatmulDescDestroy", operation, LtKind::kOperation);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* from, size_t bytes) {
  return set("cublasLtMatmulDescSetAttribute", operation, LtKind::kOperation, attribute, from,
             bytes);
}

cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute, void* to,
                                              size_t bytes, size_t* written) {
  return get("cublasLtMatmulDescGetAttribute", operation, LtKind::kOperation, attribute, to, bytes,
             written);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create("cublasLtMatmulPreferenceCreate", preference, LtKind::kPreference);
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy("cublasLtMatmulPreferenceDestroy", preference, LtKind::kPreference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* from, size_t bytes) {
  return set("cublasLtMatmulPreferenceSetAttribute", preference, LtKind::kPreference, attribute,
             from, bytes);
}

}  // extern "C"
