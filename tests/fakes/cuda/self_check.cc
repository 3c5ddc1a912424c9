// Checks of the fake libcudart by itself, without any of the project's code. Kernels are registered
// and launched as the code does that nvcc makes.

#include "self_check.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>

// crt/host_runtime.h and crt/device_functions.h declare these for nvcc only.
extern "C" {
void** __cudaRegisterFatBinary(void*);
void __cudaRegisterFatBinaryEnd(void**);
void __cudaUnregisterFatBinary(void**);
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*,
                            dim3*, int*);
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, CUstream_st*);
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*);
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*);
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t);
}

namespace tamis::fakes {
namespace {

void scale() {}  // their addresses stand for what nvcc makes of kernels
void untwinned() {}
void unregistered() {}

const void* address(void (*f)()) { return reinterpret_cast<const void*>(f); }

void run_scale(const void* arguments, dim3, dim3, size_t) {
  ScaleArguments a;
  std::memcpy(&a, arguments, sizeof a);
  if (a.by == 666) throw std::runtime_error("as asked");
  for (size_t i = 0; i < a.n; ++i) a.p[i] *= a.by;
}

void** register_kernels() {
  void** binary = __cudaRegisterFatBinary(nullptr);
  for (const auto& [f, name] : {std::pair{&scale, "scale"}, {&untwinned, "untwinned"}}) {
    __cudaRegisterFunction(binary, static_cast<const char*>(address(f)), nullptr, name, -1, nullptr,
                           nullptr, nullptr, nullptr, nullptr);
  }
  __cudaRegisterFatBinaryEnd(binary);
  OK(fake_cuda_register_twin("scale", sizeof(ScaleArguments), run_scale));
  return binary;
}

void check_devices() {
  const FakeCounts counts = fake_cuda()->counts();
  CHECK(counts.calls.empty());
  int n = 0;
  OK(cudaGetDeviceCount(&n));
  CHECK(n == 2);
  cudaDeviceProp prop;
  OK(cudaGetDeviceProperties(&prop, 1));
  CHECK(prop.totalGlobalMem == 32 << 20 && prop.major == 8 && prop.minor == 6);
  int value = 0;
  OK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  CHECK(value == 99 << 10);
  REFUSED(cudaErrorInvalidDevice, cudaSetDevice(2));
  CHECK(cudaGetLastError() == cudaErrorInvalidDevice && cudaGetLastError() == cudaSuccess);
  CHECK(std::strcmp(cudaGetErrorName(cudaErrorNotReady), "cudaErrorNotReady") == 0);
  CHECK(std::strcmp(cudaGetErrorName(cudaError_t(12345)), "unrecognized error code") == 0);
  fake_cuda()->set_up({.devices = {}});
  CHECK(cudaGetDeviceCount(&n) == cudaErrorNoDevice && n == 0);
  void* p = nullptr;
  CHECK(cudaMalloc(&p, 4) == cudaErrorNoDevice);
  fake_cuda()->set_up({.driver_version = 12000});
  CHECK(cudaGetDeviceCount(&n) == cudaErrorInsufficientDriver && n == 0);
  CHECK(cudaMalloc(&p, 4) == cudaErrorInsufficientDriver);
}

void check_memory() {
  fake_cuda()->set_up(machine(1));
  auto* p = device_array(100);
  auto* q = device_array(100);
  CHECK(reinterpret_cast<uintptr_t>(p) % 256 == 0 && reinterpret_cast<uintptr_t>(q) % 256 == 0);
  size_t free_bytes = 0, total = 0;
  OK(cudaMemGetInfo(&free_bytes, &total));
  CHECK(total == 8 << 20 && free_bytes == total - 1024);
  void* big = nullptr;
  CHECK(cudaMalloc(&big, total) == cudaErrorMemoryAllocation);
  OK(cudaMalloc(&big, free_bytes));
  CHECK(cudaFree(big) == cudaSuccess);
  CHECK(cudaPeekAtLastError() == cudaErrorMemoryAllocation && cudaGetLastError() != cudaSuccess);

  float host[100];
  OK(cudaMemcpyAsync(host, p, sizeof host, cudaMemcpyDefault, nullptr));
  CHECK(std::isnan(host[0]) && std::isnan(host[99]));
  CHECK(fake_cuda()->complaints().empty());
  REFUSED(cudaErrorInvalidValue, cudaFree(p + 64));
  REFUSED(cudaErrorInvalidValue, cudaFree(host));
  REFUSED(cudaErrorInvalidValue, cudaFreeHost(host));

  OK(launch_scale({p, 101, 2}, nullptr));  // one too many
  OK(cudaDeviceSynchronize());
  CHECK(fake_cuda()->complaints().size() == 1);
  OK(cudaFree(q));
  REFUSED(cudaErrorInvalidValue, cudaFree(q));

  const long made = fake_cuda()->counts().allocation_attempts;
  fake_cuda()->fail_allocation(made + 2);
  OK(cudaMalloc(&big, 4));
  CHECK(cudaMallocHost(&big, 4) == cudaErrorMemoryAllocation);
  OK(cudaMalloc(&big, 4));
  fake_cuda()->fail_allocations_from(made + 4);
  for (int i = 0; i < 3; ++i) CHECK(cudaMalloc(&big, 4) == cudaErrorMemoryAllocation);
  CHECK(fake_cuda()->live().allocations == 3 && !fake_cuda()->live().none());
}

/// Whether this crashes in a process of its own.
template <typename F>
bool crashes(F f) {
  const pid_t child = fork();
  if (child == 0) {
    f();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status);
}

void check_protection() {
  fake_cuda()->set_up(machine(1));
  volatile float* p = device_array(4);
  CHECK(crashes([p] { (void)p[0]; }));
  fake_cuda()->set_protect(false);
  CHECK(std::isnan(p[0]));
  fake_cuda()->set_protect(true);
  OK(launch_scale({const_cast<float*>(p), 4, 2}, nullptr));
  OK(cudaDeviceSynchronize());
  CHECK(crashes([p] { p[0] = 1; }));
}

void check_deferral() {
  fake_cuda()->set_up(machine(1));
  (void)cudaGetLastError();  // of the checks before
  auto* p = device_array(1);
  auto *pinned = pinned_array(1), *back = pinned_array(1);
  cudaStream_t s = new_stream();
  *pinned = 1;
  OK(cudaMemcpyAsync(p, pinned, 4, cudaMemcpyHostToDevice, s));
  OK(cudaMemcpyAsync(back, p, 4, cudaMemcpyDeviceToHost, s));
  *pinned = 2;  // too early: the copy has not begun
  CHECK(std::isnan(*back) && fake_cuda()->live().queued == 2);
  int polls = 0;
  for (cudaError_t e; (e = cudaStreamQuery(s)) != cudaSuccess; ++polls) {
    CHECK(e == cudaErrorNotReady && polls < 10);
  }
  CHECK(*back == 2 && cudaGetLastError() == cudaSuccess);

  float pageable = 5, other = 0;
  OK(cudaMemcpyAsync(p, &pageable, 4, cudaMemcpyHostToDevice, s));
  pageable = 6;  // staged at the call
  OK(cudaMemcpyAsync(&other, p, 4, cudaMemcpyDeviceToHost, s));
  CHECK(other == 5);
  const FakeCounts counts = fake_cuda()->counts();
  CHECK(counts.h2d_copies == 2 && counts.h2d_bytes == 8 && counts.d2h_copies == 2);

  // The legacy stream and a blocking one are in order without events.
  cudaStream_t blocking = nullptr;
  OK(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault));
  for (int i = 0; i < 20; ++i) {
    *pinned = 1;
    OK(cudaMemcpyAsync(p, pinned, 4, cudaMemcpyHostToDevice, blocking));
    OK(launch_scale({p, 1, 3}, nullptr));
    OK(cudaMemcpyAsync(back, p, 4, cudaMemcpyDeviceToHost, blocking));
    OK(cudaStreamSynchronize(blocking));
    CHECK(*back == 3);
  }
  OK(launch_scale({p, 1, 2}, s));
  OK(cudaStreamDestroy(s));  // its work is still done
  OK(cudaDeviceSynchronize());
  OK(cudaMemcpyAsync(&other, p, 4, cudaMemcpyDeviceToHost, nullptr));
  CHECK(other == 6 && fake_cuda()->complaints().empty());
  REFUSED(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(s));
}

/// Writes on one stream, of the last device, and reads on another of device 0.
float two_streams(int devices, uint64_t seed, bool wait) {
  fake_cuda()->set_up(machine(devices, seed));
  auto* flag = pinned_array(1);
  auto* result = pinned_array(1);
  *flag = 0;
  OK(cudaSetDevice(devices - 1));
  auto* far = device_array(1);
  cudaStream_t writer = new_stream();
  cudaEvent_t written = new_event();
  auto* one = pinned_array(1);
  *one = 1;
  OK(cudaMemcpyAsync(far, one, 4, cudaMemcpyHostToDevice, writer));
  OK(cudaMemcpyAsync(flag, far, 4, cudaMemcpyDeviceToHost, writer));
  OK(cudaEventRecord(written, writer));
  OK(cudaSetDevice(0));
  auto* near = device_array(1);
  cudaStream_t reader = new_stream();
  if (wait) OK(cudaStreamWaitEvent(reader, written, 0));
  OK(cudaMemcpyAsync(near, flag, 4, cudaMemcpyHostToDevice, reader));
  OK(cudaMemcpyAsync(result, near, 4, cudaMemcpyDeviceToHost, reader));
  OK(cudaStreamSynchronize(reader));
  CHECK(fake_cuda()->complaints().empty());
  return *result;
}

void check_order() {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CHECK(two_streams(1, seed, true) == 1 && two_streams(2, seed, true) == 1);
    if (two_streams(1, seed, false) != 1) ++wrong;
    CHECK(two_streams(2, seed, false) == 0);  // nobody has waited for the other device
  }
  CHECK(wrong > 5);

  fake_cuda()->set_up(machine(1));
  cudaEvent_t begin = new_event(cudaEventDefault), end = new_event(cudaEventDefault);
  float ms = -1;
  OK(cudaEventQuery(begin));
  REFUSED(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&ms, begin, end));
  OK(cudaEventRecord(begin, nullptr));
  auto* p = device_array(1000);
  OK(launch_scale({p, 1000, 1}, nullptr));
  OK(cudaEventRecord(end, nullptr));
  CHECK(cudaEventElapsedTime(&ms, begin, end) == cudaErrorNotReady);
  OK(cudaEventSynchronize(end));
  OK(cudaEventElapsedTime(&ms, begin, end));
  CHECK(ms > 0);
}

void check_refusals() {
  fake_cuda()->set_up(machine(2));
  OK(cudaSetDevice(1));
  auto* far = device_array(4);
  cudaStream_t far_stream = new_stream();
  OK(cudaSetDevice(0));
  auto* p = device_array(4);
  auto* pinned = pinned_array(4);
  float host[4] = {};
  cudaStream_t s = new_stream();
  REFUSED(cudaErrorInvalidValue, cudaMemcpyAsync(p, host, 20, cudaMemcpyHostToDevice, s));
  REFUSED(cudaErrorInvalidValue, cudaMemcpyAsync(p, pinned + 1, 16, cudaMemcpyHostToDevice, s));
  REFUSED(cudaErrorInvalidValue, cudaMemcpyAsync(p, host, 16, cudaMemcpyDeviceToHost, s));
  REFUSED(cudaErrorInvalidValue, cudaMemcpyAsync(far, host, 16, cudaMemcpyHostToDevice, s));
  REFUSED(cudaErrorInvalidValue, cudaMemcpyAsync(p, p + 1, 8, cudaMemcpyDeviceToDevice, s));
  REFUSED(cudaErrorInvalidMemcpyDirection, cudaMemcpyAsync(p, host, 16, cudaMemcpyKind(7), s));
  REFUSED(cudaErrorInvalidValue, cudaMemsetAsync(p, 0, 17, s));
  REFUSED(cudaErrorInvalidValue, cudaMemsetAsync(host, 0, 4, s));

  REFUSED(cudaErrorInvalidConfiguration, launch_scale({p, 4, 1}, s, 1, 0));
  REFUSED(cudaErrorInvalidConfiguration, launch_scale({p, 4, 1}, s, 1, dim3(32, 33)));
  REFUSED(cudaErrorInvalidConfiguration, launch_scale({p, 4, 1}, s, dim3(1, 65536)));
  REFUSED(cudaErrorInvalidConfiguration, launch_scale({p, 4, 1}, s, 1, 32, (48 << 10) + 1));
  constexpr auto kShared = cudaFuncAttributeMaxDynamicSharedMemorySize;
  REFUSED(cudaErrorInvalidValue, cudaFuncSetAttribute(address(scale), kShared, (99 << 10) + 1));
  OK(cudaFuncSetAttribute(address(scale), kShared, 64 << 10));
  OK(launch_scale({p, 4, 1}, s, 1, 32, 64 << 10));
  REFUSED(cudaErrorInvalidResourceHandle, launch_scale({p, 4, 1}, far_stream));
  OK(cudaSetDevice(1));  // where nobody has raised it
  REFUSED(cudaErrorInvalidConfiguration, launch_scale({far, 4, 1}, far_stream, 1, 32, 64 << 10));
  OK(cudaSetDevice(0));
  REFUSED(cudaErrorInvalidDeviceFunction,
          cudaLaunchKernel(address(unregistered), 1, 1, nullptr, 0, s));
  REFUSED(cudaErrorInvalidDeviceFunction,
          cudaLaunchKernel(address(untwinned), 1, 1, nullptr, 0, s));
  dim3 grid, block;
  size_t shared = 0;
  REFUSED(cudaErrorMissingConfiguration, __cudaPopCallConfiguration(&grid, &block, &shared, &s));
  REFUSED(cudaErrorInvalidResourceHandle, cudaEventRecord(reinterpret_cast<cudaEvent_t>(s), s));
  REFUSED(cudaErrorInvalidResourceHandle, cudaStreamDestroy(nullptr));

  OK(launch_scale({far, 4, 1}, s));  // the pointer is found out when it runs
  REFUSED(cudaErrorIllegalAddress, cudaStreamSynchronize(s));
  fake_cuda()->heal(0);
  OK(cudaMemsetAsync(p, 0, 16, s));
  OK(cudaFree(p));  // does not wait
  REFUSED(cudaErrorIllegalAddress, cudaStreamSynchronize(s));
}

void check_faults() {
  fake_cuda()->set_up(machine(2));
  auto* p = device_array(4);
  cudaStream_t s = new_stream();
  fake_cuda()->break_device(0, 2, cudaErrorECCUncorrectable);
  OK(launch_scale({p, 4, 1}, s));
  OK(launch_scale({p, 4, 1}, s));
  OK(launch_scale({p, 4, 1}, s));
  CHECK(cudaStreamSynchronize(s) == cudaErrorECCUncorrectable);
  CHECK(cudaGetLastError() == cudaErrorECCUncorrectable && cudaGetLastError() == cudaSuccess);
  int n = 0;
  void* q = nullptr;
  CHECK(cudaMalloc(&q, 4) == cudaErrorECCUncorrectable);
  CHECK(cudaGetDeviceCount(&n) == cudaErrorECCUncorrectable);
  CHECK(launch_scale({p, 4, 1}, s) == cudaErrorECCUncorrectable);
  OK(cudaSetDevice(1));
  OK(cudaMalloc(&q, 4));
  CHECK(cudaSetDevice(0) == cudaErrorECCUncorrectable);
  fake_cuda()->heal(0);
  OK(launch_scale({p, 4, 1}, s));
  OK(cudaStreamSynchronize(s));
  CHECK(fake_cuda()->counts().launches["scale"] == 2 && fake_cuda()->live().queued == 0);

  OK(launch_scale({p, 4, 666}, s));
  REFUSED(cudaErrorLaunchFailure, cudaDeviceSynchronize());
  CHECK(cudaFree(p) == cudaErrorLaunchFailure && cudaStreamDestroy(s) == cudaErrorLaunchFailure);
  OK(cudaFree(q));
  CHECK(fake_cuda()->live().none());
}

void check_one_device() {
  fake_cuda()->set_up(machine(2));
  void* p = nullptr;
  fake_cuda()->fail_allocation_on(1, 2);
  OK(cudaSetDevice(1));
  OK(cudaMalloc(&p, 4));
  OK(cudaFree(p));
  CHECK(cudaMalloc(&p, 4) == cudaErrorMemoryAllocation);
  OK(cudaMalloc(&p, 4));
  OK(cudaFree(p));
  fake_cuda()->fail_allocations_on_from(1, 2);
  OK(cudaMalloc(&p, 4));
  OK(cudaFree(p));
  for (int i = 0; i < 3; ++i) CHECK(cudaMalloc(&p, 4) == cudaErrorMemoryAllocation);
  OK(cudaSetDevice(0));
  OK(cudaMalloc(&p, 4));
  OK(cudaFree(p));
  fake_cuda()->heal(1);
  OK(cudaSetDevice(1));
  OK(cudaMalloc(&p, 4));

  size_t free_bytes = 0, total_bytes = 0;
  fake_cuda()->set_memory(1, 1 << 20);
  OK(cudaMemGetInfo(&free_bytes, &total_bytes));
  CHECK(total_bytes == 1 << 20 && free_bytes < total_bytes);
  void* q = nullptr;
  CHECK(cudaMalloc(&q, 1 << 20) == cudaErrorMemoryAllocation);
  fake_cuda()->set_memory(1, 1);
  OK(cudaMemGetInfo(&free_bytes, &total_bytes));
  CHECK(free_bytes == 0);
  fake_cuda()->set_memory(1, 8 << 20);
  OK(cudaFree(p));

  float* values = device_array(4);
  cudaStream_t s = new_stream();
  fake_cuda()->hang(1);
  OK(launch_scale({values, 4, 1}, s));
  for (int i = 0; i < 100; ++i) CHECK(cudaStreamQuery(s) == cudaErrorNotReady);
  REFUSED(cudaErrorUnknown, cudaStreamSynchronize(s));
  fake_cuda()->heal(1);
  OK(cudaStreamSynchronize(s));
  CHECK(fake_cuda()->counts().launches["scale"] == 1);
  fake_cuda()->break_device(1, 0, cudaErrorDevicesUnavailable);
  CHECK(cudaMemGetInfo(&free_bytes, &total_bytes) == cudaErrorDevicesUnavailable);
  fake_cuda()->heal(1);
  OK(cudaStreamDestroy(s));
  OK(cudaFree(values));
  CHECK(fake_cuda()->live().none());
}

}  // namespace

cudaError_t launch_scale(ScaleArguments arguments, cudaStream_t stream, dim3 grid, dim3 block,
                         size_t shared) {
  CHECK(__cudaPushCallConfiguration(grid, block, shared, stream) == 0);
  cudaKernel_t kernel = nullptr;
  OK(__cudaGetKernel(&kernel, address(scale)));
  OK(__cudaPopCallConfiguration(&grid, &block, &shared, &stream));
  void* list[] = {&arguments};
  const cudaError_t error = __cudaLaunchKernel(kernel, grid, block, list, shared, stream);
  std::memset(static_cast<void*>(&arguments), 0xEE, sizeof arguments);  // copied at the launch
  return error;
}

}  // namespace tamis::fakes

int main() {
  using namespace tamis::fakes;
  setenv("TAMIS_FAKE_CUDA", "devices=2,memory=64MiB,memory1=32MiB,capability1=8.6,seed=3", 1);
  void** binary = register_kernels();
  check_devices();
  check_memory();
  check_protection();
  check_deferral();
  check_order();
  check_refusals();
  check_faults();
  check_one_device();
  check_graphs();
  check_threads();
  check_cublaslt();
  __cudaUnregisterFatBinary(binary);
  REFUSED(cudaErrorInvalidDeviceFunction,
          cudaLaunchKernel(address(scale), 1, 1, nullptr, 0, nullptr));
  std::puts("the fakes are well");
  return 0;
}
