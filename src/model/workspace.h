#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "device/device.h"
#include "model/weights.h"

namespace tamis {

/// The memory and the stream of one replica: activations, indices and scratch for one batch at a
/// time, in one buffer that grows to the largest batch it has seen. Belongs to one thread at a
/// time.
class Workspace {
 public:
  Workspace(std::shared_ptr<Device> device, const StreamOptions& options,
            std::shared_ptr<MemoryAccount> account, std::chrono::milliseconds timeout);

  /// A pure function of the model's sizes: floats for x, one temporary and the widest of
  /// {q, k, v, context}, the feed-forward layer and the result, which are never alive together;
  /// six indices a token at most; and the scratch of the ops.
  static size_t bytes_for(const HostModel& model, const Device& device,
                          const StreamOptions& options, DType dtype, size_t tokens);
  /// Errors: resource_exhausted; then what was there is gone as well, and the next call may ask for
  /// less.
  void reserve(const ModelWeights& weights, size_t tokens);
  /// Gives the memory back; the next batch allocates anew. Returns the bytes.
  size_t release();

  Mat hidden(int64_t rows) const { return {floats(), rows, hidden_}; }
  Mat temporary(int64_t rows) const { return {floats() + tokens_ * hidden_, rows, hidden_}; }
  Mat query(int64_t rows) const { return {wide(), rows, hidden_}; }
  Mat key_value(int64_t rows) const { return {wide() + tokens_ * hidden_, rows, 2 * hidden_}; }
  Mat context(int64_t rows) const { return {wide() + 3 * tokens_ * hidden_, rows, hidden_}; }
  Mat feed_forward(int64_t rows) const { return {wide(), rows, intermediate_}; }
  /// Rows of a vocabulary's logits that SPLADE has at a time; their largest stand before them.
  static constexpr int64_t kSpladeRows = 32;
  /// Results of the head, one block of numbers after the other.
  float* results() const { return wide(); }

  /// Room for a row of the word table for each token, until the first layer begins.
  std::byte* word_rows() const { return reinterpret_cast<std::byte*>(wide()); }

  /// Sends values to the device's room for indices; they stay in `staged` until the stream is done.
  const int32_t* upload_indices();
  std::vector<int32_t>& staged() { return staged_; }

  Stream& stream() const { return *stream_; }
  Ops& ops() const { return stream_->ops(); }
  const Device& device() const { return *device_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  size_t bytes() const { return buffer_.bytes(); }
  const Buffer& buffer() const { return buffer_; }

 private:
  float* floats() const { return reinterpret_cast<float*>(buffer_.data()); }
  float* wide() const { return floats() + 2 * tokens_ * hidden_; }

  std::shared_ptr<Device> device_;
  StreamOptions options_;
  std::shared_ptr<MemoryAccount> account_;
  std::chrono::milliseconds timeout_;
  std::vector<int32_t> staged_;
  Buffer buffer_;  // before the stream: work that is queued goes first
  std::shared_ptr<Stream> stream_;
  size_t indices_offset_ = 0;
  int64_t tokens_ = 0;
  int64_t hidden_ = 0;
  int64_t intermediate_ = 0;
};

}  // namespace tamis
