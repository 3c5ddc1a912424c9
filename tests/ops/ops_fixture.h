#pragma once

// Helpers of the op tests: random matrices between guard values, and the devices under test.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "device/device_set.h"

namespace tamis {

/// A matrix with a guard row before and after it and guard columns behind each row; unwritten
/// cells hold NaN, so that an op that reads what it did not write shows itself.
class GuardedMat {
 public:
  GuardedMat(int64_t rows, int64_t cols, int64_t gap = 3)
      : rows_(rows),
        cols_(cols),
        stride_(cols + gap),
        values_(static_cast<size_t>((rows + 2) * stride_), kGuard) {
    for (int64_t r = 0; r < rows; ++r) {
      std::fill_n(view().row(r), cols, std::numeric_limits<float>::quiet_NaN());
    }
  }
  Mat view() { return {values_.data() + stride_, rows_, cols_, stride_}; }
  ConstMat view() const { return {values_.data() + stride_, rows_, cols_, stride_}; }

  /// Everything, guards too; the matrix begins at offset().
  std::vector<float>& values() { return values_; }
  int64_t offset() const { return stride_; }

  GuardedMat& fill(std::mt19937& random, float scale = 1.0f) {
    std::normal_distribution<float> normal(0, scale);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) view().row(r)[c] = normal(random);
    }
    return *this;
  }

  void expect_guards_intact(const std::string& what) const {
    const float* inside = values_.data() + stride_;
    for (size_t i = 0; i < values_.size(); ++i) {
      const int64_t at = values_.data() + i - inside;
      const bool cell = at >= 0 && at < rows_ * stride_ && at % stride_ < cols_;
      if (!cell) {
        ASSERT_EQ(values_[i], kGuard) << what << ": wrote outside, at offset " << at;
      }
    }
  }

 private:
  static constexpr float kGuard = -12345.0f;
  int64_t rows_, cols_, stride_;
  std::vector<float> values_;
};

/// Aligned to 64 bytes, with as many bytes of 0xAB behind.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t n) : n_(n), bytes_(n * sizeof(T) + 192, std::byte{0xAB}) {}
  T* data() {
    const auto at = reinterpret_cast<uintptr_t>(bytes_.data());
    return reinterpret_cast<T*>(bytes_.data() + (64 - at % 64) % 64);
  }
  void expect_guard(const std::string& what) {
    const auto* end = reinterpret_cast<const std::byte*>(data() + n_);
    for (size_t i = 0; i < 64; ++i) {
      ASSERT_EQ(end[i], std::byte{0xAB}) << what << " wrote beyond its end";
    }
  }

 private:
  size_t n_;
  std::vector<std::byte> bytes_;
};

/// |got - want| <= tolerance in every cell; NaN fails.
inline void expect_near(const GuardedMat& got, const GuardedMat& want, double tolerance,
                        const std::string& what) {
  const ConstMat a = got.view(), b = want.view();
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) {
      const double delta = std::abs(static_cast<double>(a.row(r)[c]) - b.row(r)[c]);
      ASSERT_TRUE(delta <= tolerance) << what << ": row " << r << " column " << c << ": got "
                                      << a.row(r)[c] << ", want " << b.row(r)[c];
    }
  }
  got.expect_guards_intact(what);
}

/// A stored tensor and its bytes.
struct Stored {
  Stored(std::string name, Shape shape, DType dtype, const std::vector<float>& values) {
    view.name = std::move(name);
    view.shape = std::move(shape);
    view.dtype = dtype;
    for (float value : values) append(dtype, value);
    view.bytes = std::span<const std::byte>(bytes).subspan(1);
  }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;

  std::vector<std::byte> bytes{std::byte{0}};  // one odd byte first: tensors may lie unaligned
  TensorView view;

 private:
  void append(DType dtype, float value) {
    const uint16_t half = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
    const void* from = dtype == DType::kF32 ? static_cast<const void*>(&value) : &half;
    const auto* p = static_cast<const std::byte*>(from);
    bytes.insert(bytes.end(), p, p + size_of(dtype));
  }
};

inline std::vector<float> random_values(std::mt19937& random, int64_t n, float scale = 1.0f) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

/// A device with host memory, a stream on it and scratch enough for every test here.
class TestDevice {
 public:
  TestDevice(const std::string& name, int threads, const std::string& isa)
      : options_{threads, {}},
        device_(DeviceSet({}).open(parse_device_name(name), isa)),
        stream_(device_->make_stream(options_)) {
    scratch_ = allocate(device_->scratch_bytes({4096, 4096, 128, DType::kI8}, options_));
    ops().set_scratch({scratch_.data(), scratch_.bytes()});
  }
  Ops& ops() { return stream_->ops(); }
  Device& device() { return *device_; }

  /// Packed into memory that lives as long as this.
  PackedLinear pack(const LinearSource& source, DType dtype = DType::kF32) {
    PackedLinear out;
    for (const TensorView* w : source.weights) out.out_features += w->shape[0];
    out.in_features = source.weights[0]->shape[1];
    out.dtype = dtype;
    out.bytes = device_->linear_bytes(out.in_features, out.out_features, dtype);
    packed_.push_back(allocate(out.bytes + 64));
    std::byte* data = packed_.back().data();
    std::fill_n(data, out.bytes + 64, std::byte{0xAB});
    ops().pack_linear(source, dtype, data);
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_EQ(data[out.bytes + i], std::byte{0xAB}) << "packing wrote beyond its bytes";
    }
    out.data = data;
    return out;
  }

 private:
  Buffer allocate(size_t bytes) { return device_->allocate(bytes, account_, Purpose::kWorkspace); }
  std::shared_ptr<MemoryAccount> account_ =
      std::make_shared<MemoryAccount>("test", MemoryAccount::no_limit);
  StreamOptions options_;
  std::shared_ptr<Device> device_;
  std::vector<Buffer> packed_;
  Buffer scratch_;
  std::shared_ptr<Stream> stream_;
};

/// Gamma and beta, and the view of them that ops take.
struct TestNorm {
  TestNorm(std::mt19937& random, int64_t n)
      : gamma(random_values(random, n)), beta(random_values(random, n)) {}
  LayerNormWeights view() const { return {gamma.data(), beta.data(), 1e-5f}; }
  std::vector<float> gamma, beta;
};

struct DeviceCase {
  std::string isa;
  int threads;
};

/// Every instruction set of this machine, alone and with more threads than one.
inline std::vector<DeviceCase> device_cases() {
  std::vector<DeviceCase> out;
  for (const std::string& isa : cpu_isas()) {
    out.push_back({isa, 1});
    out.push_back({isa, 3});
  }
  return out;
}

inline std::string case_name(const testing::TestParamInfo<DeviceCase>& info) {
  return info.param.isa + "_threads" + std::to_string(info.param.threads);
}

}  // namespace tamis
