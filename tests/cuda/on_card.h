#pragma once

// A device of a FakeMachine for the tests of ops, and operands on it.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "../ops/ops_fixture.h"
#include "cuda_fixture.h"
#include "device/device_set.h"

namespace tamis {

class OnCard {
 public:
  explicit OnCard(const std::string& options = "")
      : device_(open(options)), stream_(device_->make_stream({})) {}
  Device& device() { return *device_; }
  Stream& stream() { return *stream_; }

  std::span<std::byte> allocate(size_t bytes) {
    buffers_.push_back(device_->allocate(bytes, account_, Purpose::kWorkspace));
    return {buffers_.back().data(), bytes};
  }
  template <class T>
  T* put(const std::vector<T>& values) {
    return reinterpret_cast<T*>(put_bytes(values.data(), values.size() * sizeof(T)));
  }
  std::byte* put_bytes(const void* data, size_t bytes) {
    std::byte* out = allocate(std::max<size_t>(bytes, 1)).data();
    stream_->upload(out, data, bytes);
    return out;
  }
  /// With its guards.
  Mat put(GuardedMat& m) {
    const Mat host = m.view();
    return {put(m.values()) + m.offset(), host.rows, host.cols, host.stride};
  }
  /// The matrix and its guards come back.
  void get(Mat from, GuardedMat& to) { get(from.data - to.offset(), to.values()); }
  template <class T>
  void get(const T* from, std::vector<T>& to) {
    stream_->download(to.data(), from, to.size() * sizeof(T));
    stream_->synchronize(std::chrono::seconds(60));
  }
  const std::shared_ptr<MemoryAccount>& account() const { return account_; }

 private:
  static std::shared_ptr<Device> open(const std::string& options) {
    DeviceSetOptions set;
    set.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
    set.cuda_options = options;
    return DeviceSet(set).open({"cuda", 0});
  }
  std::shared_ptr<MemoryAccount> account_ =
      std::make_shared<MemoryAccount>("test", MemoryAccount::no_limit);
  std::shared_ptr<Device> device_;
  std::vector<Buffer> buffers_;
  std::shared_ptr<Stream> stream_;
};

}  // namespace tamis
