#include "backend/cuda/cuda_device.h"

#include <string>

#include "backend/cuda/cuda_stream.h"
#include "base/byte_size.h"
#include "base/fail.h"
#include "device/allocation_map.h"
#include "device/plain_linear.h"

namespace tamis::cuda {
namespace {

/// sm_75: the oldest that CUDA 13 compiles for.
constexpr int kLeastCapability = 75;
/// For filling memory with zeros, which takes milliseconds: a card that hangs.
constexpr std::chrono::minutes kFillPatience{1};

int attribute(const Card& card, cudaDeviceAttr which) {
  int value = 0;
  check(card, "cudaDeviceGetAttribute", cudaDeviceGetAttribute(&value, which, card.index));
  return value;
}

std::string card_name(int index) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    cudaGetLastError();
    return "?";
  }
  return properties.name;
}

/// How many cards CUDA finds; says what to do if it finds none.
int count_cards(const Card& card) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error == cudaErrorInsufficientDriver || driver == 0) {
    fail(ErrorCode::kUnavailable,
         "{}: {}; this build has CUDA {}.{}: install a driver for it (nvidia-smi shows the newest "
         "CUDA that a driver knows), or use cpu",
         card.name,
         driver == 0
             ? "there is no NVIDIA driver"
             : fmt::format("the NVIDIA driver knows CUDA {}.{}", driver / 1000, driver % 100 / 10),
         runtime / 1000, runtime % 100 / 10);
  }
  fail(ErrorCode::kUnavailable, "{}: CUDA finds no card ({}); is CUDA_VISIBLE_DEVICES empty?",
       card.name, cudaGetErrorName(error));
}

class CudaDevice : public Device {
 public:
  CudaDevice(std::shared_ptr<const Card> card, DeviceInfo info)
      : card_(std::move(card)), info_(std::move(info)) {}

  const DeviceInfo& info() const override { return info_; }

  MemoryInfo memory() const override {
    use(*card_);
    MemoryInfo out;
    check(*card_, "cudaMemGetInfo", cudaMemGetInfo(&out.free_bytes, &out.total_bytes));
    return out;
  }

  bool owns(const void* p, size_t bytes) const override { return allocations_.owns(p, bytes); }

  std::shared_ptr<Stream> make_stream(const StreamOptions&) override {
    return std::make_shared<CudaStream>(card_);
  }

  size_t linear_bytes(int64_t in, int64_t out, DType dtype) const override {
    if (dtype == DType::kI8) {
      fail(ErrorCode::kUnimplemented,
           "{}: int8 runs on cpu; for this device choose dtype f16, bf16 or f32", info_.name);
    }
    return plain_linear_bytes(in, out, dtype);
  }
  size_t scratch_bytes(const ScratchShape& shape, const StreamOptions&) const override {
    return cuda::scratch_bytes(shape);
  }

 protected:
  std::byte* allocate_bytes(size_t bytes) override {
    use(*card_);
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      const MemoryInfo now = memory();
      fail(ErrorCode::kResourceExhausted, "{}: {} needed, {} of {} are free", info_.name,
           format_bytes(bytes), format_bytes(now.free_bytes), format_bytes(now.total_bytes));
    }
    check(*card_, "cudaMalloc", error);
    auto* out = static_cast<std::byte*>(data);
    try {
      allocations_.add(out, bytes);
    } catch (...) {
      cudaFree(data);
      throw;
    }
    return out;
  }

  std::byte* allocate_zeroed_bytes(size_t bytes) override {
    std::byte* out = allocate_bytes(bytes);
    try {
      // By a stream of its own: those of the callers wait for none, and are not to find the rest of
      // what was there before.
      const OwnedStream stream = cuda::make_stream(*card_);
      check(*card_, "cudaMemset", cudaMemsetAsync(out, 0, bytes, stream.get()));
      wait_for(
          *card_, [&] { return cudaStreamQuery(stream.get()); }, kFillPatience);
    } catch (...) {
      free_bytes(out, bytes);
      throw;
    }
    return out;
  }

  void free_bytes(std::byte* data, size_t) noexcept override {
    allocations_.remove(data);
    cudaSetDevice(card_->index);
    if (cudaFree(data) != cudaSuccess) cudaGetLastError();  // of a card that has failed
  }

 private:
  std::shared_ptr<const Card> card_;
  DeviceInfo info_;
  AllocationMap allocations_;
};

}  // namespace

std::shared_ptr<Device> make_device(int index, const CudaOptions& options) {
  auto card = std::make_shared<Card>();
  card->index = index;
  card->name = fmt::format("cuda:{}", index);
  card->graphs = options.graphs;
  card->plain_attention = options.plain_attention;
  card->nccl = options.nccl;
  const int count = count_cards(*card);
  if (index >= count) {
    std::string names;
    for (int i = 0; i < count; ++i) {
      names += fmt::format("{}cuda:{} ({})", names.empty() ? "" : ", ", i, card_name(i));
    }
    fail(ErrorCode::kInvalidArgument, "no device \"{}\"; CUDA finds {}", card->name, names);
  }
  use(*card);
  const int major = attribute(*card, cudaDevAttrComputeCapabilityMajor);
  card->capability = 10 * major + attribute(*card, cudaDevAttrComputeCapabilityMinor);
  DeviceInfo info;
  info.name = card->name;
  info.kind = "cuda";
  info.description =
      fmt::format("{}, sm_{}, {} multiprocessors", card_name(index), card->capability,
                  attribute(*card, cudaDevAttrMultiProcessorCount));
  if (card->capability < kLeastCapability) {
    fail(ErrorCode::kUnavailable, "{}: {} is too old: expected sm_{} or later", card->name,
         info.description, kLeastCapability);
  }
  // By reckoning: enough rows for every multiprocessor of a large card. Not measured on one.
  info.batch_tokens = 8192;
  info.least_tokens = 1024;
  return std::make_shared<CudaDevice>(std::move(card), std::move(info));
}

}  // namespace tamis::cuda
