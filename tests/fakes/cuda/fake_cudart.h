#pragma once

// A libcudart (and, beside it, a libcublasLt) without a card, written from NVIDIA's headers alone.
//
// Calls only queue their work. It is done when somebody waits or asks, one command at a time, from
// streams of the device chosen at random, so that a missing wait shows as wrong data. Kernels run
// as their twins for the host. What a program does wrong is refused with the documented code and
// written down as a complaint.
//
// A test takes fake_cuda() from the library (by linking or dlsym); a program is told by
//   TAMIS_FAKE_CUDA=devices=2,memory=64MiB,memory1=32MiB,seed=3
// read once, at the first use. Keys: devices, seed, protect, driver, free_synchronizes,
// fail_allocation, fail_allocations_from; and, for every device or with its number behind for one:
// memory, capability (8.6), multiprocessors, slow.
//
// Where it is stricter than a card may be: device memory of another device is never accepted (no
// peer access), pageable memory is refused in a capture, and cudaFree does not wait for anything
// (the header says only that it "may"; free_synchronizes makes it wait).

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tamis::fakes {

inline constexpr int kMostDevices = 8;

struct FakeDevice {
  std::string name = "Fake GPU";
  std::array<unsigned char, 16> uuid{};  ///< all zero: one is made from the device's number
  size_t memory_bytes = size_t{1} << 30;
  int major = 8, minor = 0;
  int multiprocessors = 16;
  double slow_factor = 1;  ///< each command takes so many times as long
  size_t shared_bytes = 48 << 10, shared_optin_bytes = 99 << 10;  ///< per block
};

struct FakeSetup {
  std::vector<FakeDevice> devices{FakeDevice{}};  ///< at most kMostDevices; none: cudaErrorNoDevice
  uint64_t seed = 1;
  bool protect = true;  ///< device memory is PROT_NONE while no command runs
  bool compute = true;  ///< off: kernels and products take no time, change nothing, and memory is 0
  bool free_synchronizes = false;       ///< cudaFree waits for the device first
  int driver_version = CUDART_VERSION;  ///< 0: no driver
};

/// Work is counted when it is done: a graph counts at each launch, not at its capture.
struct FakeCounts {
  std::map<std::string, long> calls;     ///< by function, of both libraries; refused ones too
  std::map<std::string, long> launches;  ///< by kernel
  std::map<int, long> commands;          ///< by device: copies, fills, kernels, products
  long allocation_attempts = 0;          ///< cudaMalloc, cudaMallocHost, cudaHostAlloc
  long h2d_copies = 0, d2h_copies = 0, d2d_copies = 0;
  size_t h2d_bytes = 0, d2h_bytes = 0, d2d_bytes = 0;
  long graph_launches = 0;
  long heuristics = 0, matmuls = 0;  ///< of cublasLt
};

struct FakeLive {
  size_t allocations = 0, allocated_bytes = 0;
  size_t pinned = 0, pinned_bytes = 0;
  size_t streams = 0, events = 0;
  size_t graphs = 0, graph_execs = 0;
  size_t lt_objects = 0;  ///< handles and descriptors of cublasLt
  size_t queued = 0;      ///< commands not yet done, on all streams

  /// Everything was given back.
  bool none() const {
    return allocations + pinned + streams + events + graphs + graph_execs + lt_objects == 0;
  }
};

/// What a test may set and read. Any thread may call; virtual, so that dlsym of fake_cuda is
/// enough.
struct FakeCuda {
  /// A new machine: everything that lived is gone, counters, faults and complaints too. Kernels,
  /// twins and what cublasLt created stay. No other thread may be inside the library.
  virtual void set_up(const FakeSetup& setup) = 0;
  virtual FakeSetup setup() const = 0;
  virtual void set_seed(uint64_t seed) = 0;
  virtual void set_protect(bool on) = 0;
  virtual void set_slow_factor(int device, double factor) = 0;

  /// What the device has from now on; less than what is allocated leaves nothing free. At most
  /// what it had at set_up.
  virtual void set_memory(int device, size_t bytes) = 0;

  /// The n-th allocation of the process fails, counted from 1 as FakeCounts::allocation_attempts;
  /// 0: none. The second form: that one and all that follow.
  virtual void fail_allocation(long n) = 0;
  virtual void fail_allocations_from(long n) = 0;
  /// The same of one device's memory alone, counted from now on (1 = the next one); 0: none.
  virtual void fail_allocation_on(int device, long nth) = 0;
  virtual void fail_allocations_on_from(int device, long nth) = 0;
  /// The n-th command from now on (1 = the next one; 0 = at once, without a command) breaks the
  /// device instead of being done; what is queued is dropped. From then on each call that concerns
  /// the device returns `error`, but calls that give something back still do so.
  virtual void break_device(int device, long nth_command, cudaError_t error) = 0;
  /// Its commands are not done, however often somebody asks, until it is healed or it breaks.
  virtual void hang(int device) = 0;
  /// The device works again, its allocations are as they were. Also forgets a planned break and
  /// allocations that should fail.
  virtual void heal(int device) = 0;

  virtual FakeCounts counts() const = 0;
  virtual void reset_counters() = 0;
  virtual FakeLive live() const = 0;
  /// What was refused and why, what ran wrongly, and heuristics without a result.
  virtual std::vector<std::string> complaints() const = 0;
  virtual void clear_complaints() = 0;

  // For the libraries beside this one.
  virtual void complain(const std::string& text) = 0;
  virtual void count_call(const char* function) = 0;
  virtual void count_heuristic() = 0;
  virtual void count_matmul() = 0;
  virtual void count_lt_objects(int change) = 0;

 protected:
  ~FakeCuda() = default;
};

}  // namespace tamis::fakes

extern "C" {

/// Never null; lives as long as the process.
tamis::fakes::FakeCuda* fake_cuda();

/// Gives the twin of a kernel by its device name; a later one replaces it. The kernel has one
/// parameter of that size. 0 = taken. `run` is called when the launch is executed, without a lock,
/// on the thread that waits; an exception of it is a launch failure of the device.
int fake_cuda_register_twin(const char* name, size_t argument_bytes,
                            void (*run)(const void* arguments, dim3 grid, dim3 block,
                                        size_t shared_bytes));

/// Queues foreign work on a stream of the current device, or records it into the capture there.
/// Then `run(state)` is called once, or once per graph launch. `drop(state)`, unless null, is
/// called exactly once, when the work is not needed any more; also if this fails. `drop` must not
/// call the library.
cudaError_t fake_cuda_enqueue(cudaStream_t stream, const char* what, void (*run)(void*),
                              void* state, void (*drop)(void*));

/// Inside such a `run`: whether these bytes lie in one live allocation of the device that runs it.
/// If not, the device is broken with cudaErrorIllegalAddress after `run` has returned.
int fake_cuda_operand(const void* p, size_t bytes, const char* what);

}  // extern "C"
