#pragma once

// Ops with made-up operands, run on any device: what `selftest` compares and times.

#include <functional>
#include <string>
#include <vector>

#include "device/device.h"

namespace tamis {

/// Operands on a device, and the ops of one stream. What is put stays until the end.
class OpBench {
 public:
  OpBench(std::shared_ptr<Device> device, std::chrono::milliseconds timeout);

  Ops& ops() { return stream_->ops(); }
  /// With scratch for train_op_cases; null where the device does not train.
  TrainOps* train_ops();
  template <class T>
  T* put(const std::vector<T>& values) {
    return reinterpret_cast<T*>(put_bytes(values.data(), values.size() * sizeof(T)));
  }
  Mat put(const std::vector<float>& values, int64_t rows) {
    return {put(values), rows, static_cast<int64_t>(values.size()) / rows};
  }
  /// Uninitialised.
  Mat room(int64_t rows, int64_t cols);
  /// W is [out, in]; the storage type of the layer is `dtype`.
  PackedLinear pack(const std::vector<float>& weights, const std::vector<float>& bias, DType dtype);
  /// Waits for everything.
  std::vector<float> get(ConstMat m);
  void finish() { stream_->synchronize(timeout_); }

 private:
  std::byte* put_bytes(const void* data, size_t bytes);
  std::shared_ptr<Device> device_;
  std::shared_ptr<MemoryAccount> account_;
  std::chrono::milliseconds timeout_;
  std::vector<Buffer> buffers_;
  bool train_scratch_ = false;
  std::shared_ptr<Stream> stream_;
};

/// One op: `run` puts operands, the same on every device, and returns what it computes.
struct OpCase {
  std::string name;
  bool attention = false;
  double tolerance = 0;
  std::function<std::vector<float>(OpBench& bench)> run;
};

/// Every op in every storage type, on shapes of real models and on ragged ones.
std::vector<OpCase> op_cases();

/// The ops of training, each with its way back.
std::vector<OpCase> train_op_cases();

/// One op to be timed: `make` puts the operands and returns what queues the op once.
struct OpTiming {
  std::string name;
  double flops = 0;
  std::function<std::function<void()>(OpBench& bench)> make;
};
std::vector<OpTiming> op_timings();

}  // namespace tamis
