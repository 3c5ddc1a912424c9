#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/ops.h"

namespace tamis {

/// Owned memory of f32, aligned to 64 bytes; uninitialised.
class FloatBuffer {
 public:
  FloatBuffer() = default;
  /// Errors: resource_exhausted, with the number of bytes.
  explicit FloatBuffer(size_t count);
  float* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(float); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> data_;
  size_t size_ = 0;
};

struct DeviceOptions {
  int threads = 0;  ///< 0 = usable_cores()
  std::string isa;  ///< "" = best
};

/// Where a model computes. Today every device's memory is host memory, so buffers are plain and no
/// copies exist; what moves bytes joins here when a device with its own memory does.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;  ///< "cpu", "ref"
  virtual std::string_view isa() const = 0;
  virtual int threads() const = 0;
  /// Tokens of a batch that suit this device best.
  virtual size_t preferred_batch_tokens() const = 0;
  virtual Ops& ops() = 0;
};

/// The device of this name. Errors: invalid_argument (lists the names and instruction sets that
/// exist).
std::unique_ptr<Device> make_device(std::string_view name, const DeviceOptions& options);
/// Names that make_device takes.
std::vector<std::string> device_names();
/// Instruction sets of the cpu device on this machine, best first.
std::vector<std::string> cpu_isas();

}  // namespace tamis
