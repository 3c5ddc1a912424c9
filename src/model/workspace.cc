#include "model/workspace.h"

#include <algorithm>

#include "base/fail.h"

namespace tamis {
namespace {

/// Parts of the buffer, in bytes; each is aligned to 64.
struct Layout {
  Layout(const HostModel& model, const Device& device, const StreamOptions& options, DType dtype,
         size_t tokens) {
    const io::ModelConfig& c = model.spec.config;
    const auto h = static_cast<size_t>(c.hidden_size);
    const auto f = static_cast<size_t>(c.intermediate_size);
    // The head's results take the place of what the layers used.
    const size_t results = model.spec.pooling == Pooling::kSplade
                               ? (1 + Workspace::kSpladeRows) * model.widest_layout().vector
                               : tokens * model.widest_layout().numbers(1, 1);
    const size_t wide = std::max(tokens * std::max(4 * h, f), results);
    indices = round((2 * tokens * h + wide) * sizeof(float));
    scratch = indices + round((6 * tokens + 2) * sizeof(int32_t));
    bytes = scratch + round(device.scratch_bytes(
                          {static_cast<int64_t>(tokens), static_cast<int64_t>(std::max(h, f)),
                           c.hidden_size / c.num_attention_heads, dtype, c.num_attention_heads},
                          options));
  }
  static size_t round(size_t n) { return (n + 63) / 64 * 64; }
  size_t indices, scratch, bytes;
};

}  // namespace

Workspace::Workspace(std::shared_ptr<Device> device, const StreamOptions& options,
                     std::shared_ptr<MemoryAccount> account, std::chrono::milliseconds timeout)
    : device_(std::move(device)),
      options_(options),
      account_(std::move(account)),
      timeout_(timeout),
      stream_(device_->make_stream(options)) {}

size_t Workspace::bytes_for(const HostModel& model, const Device& device,
                            const StreamOptions& options, DType dtype, size_t tokens) {
  return Layout(model, device, options, dtype, tokens).bytes;
}

void Workspace::reserve(const ModelWeights& weights, size_t tokens) {
  const HostModel& model = *weights.host;
  hidden_ = model.spec.config.hidden_size;
  intermediate_ = model.spec.config.intermediate_size;
  if (static_cast<int64_t>(tokens) <= tokens_) return;
  release();  // before allocating anew
  const Layout layout(model, *device_, options_, weights.dtype, tokens);
  buffer_ = device_->allocate(layout.bytes, account_, Purpose::kWorkspace);
  indices_offset_ = layout.indices;
  tokens_ = static_cast<int64_t>(tokens);
  ops().set_scratch({buffer_.data() + layout.scratch, layout.bytes - layout.scratch});
}

size_t Workspace::release() {
  const size_t bytes = buffer_.bytes();
  buffer_ = Buffer();
  tokens_ = 0;
  return bytes;
}

const int32_t* Workspace::upload_indices() {
  std::byte* to = buffer_.data() + indices_offset_;
  stream_->upload(to, staged_.data(), staged_.size() * sizeof(int32_t));
  return reinterpret_cast<const int32_t*>(to);
}

}  // namespace tamis
