#include "engine/replica.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "engine/placement.h"

namespace tamis {
namespace {

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

/// Runs the batch again with a probe, to say where the first NaN or Inf came from.
[[noreturn]] void explain_not_finite(const ModelWeights& weights, const PackedBatch& batch,
                                     Workspace& workspace, const Outputs& outputs,
                                     std::span<float> out) {
  const std::string model = weights.spec().directory.string();
  forward(weights, batch, workspace, outputs, out, [&](std::string_view stage, ConstMat x) {
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) {
        const float value = x.row(r)[c];
        if (std::isfinite(value)) continue;
        if (stage == "embeddings") {
          fail(
              ErrorCode::kDataLoss,
              "{}: the embedding of token id {} is {}; the word, position or type table is damaged",
              model, batch.ids[static_cast<size_t>(r)], value);
        }
        fail(ErrorCode::kDataLoss,
             "{}: the output of {} is {} at row {} column {}; a weight there is damaged or the "
             "model overflows f32",
             model, stage, value, r, c);
      }
    }
  });
  fail(ErrorCode::kInternal, "{}: a result was not finite, and finite when computed again", model);
}

}  // namespace

Replica::Replica(std::shared_ptr<const ModelWeights> weights, std::shared_ptr<Device> device,
                 Workspace workspace, const StreamOptions& options, size_t batch_tokens)
    : weights_(std::move(weights)),
      device_(std::move(device)),
      options_(options),
      batch_tokens_(batch_tokens),
      workspace_(std::move(workspace)) {}

void Replica::run(const PackedBatch& batch, const Outputs& outputs, std::span<float> out) {
  reserve(batch.tokens());
  forward(*weights_, batch, workspace_, outputs, out);
  if (!all_finite(out)) explain_not_finite(*weights_, batch, workspace_, outputs, out);
}

void Replica::reserve(size_t tokens) {
  const auto note = [&] {
    const Buffer& b = workspace_.buffer();
    workspace_bytes_ = b.bytes();
    workspace_on_device_ = b.bytes() == 0 || device_->owns(b.data(), b.bytes());
  };
  try {
    workspace_.reserve(*weights_, tokens);
  } catch (...) {
    note();
    throw;
  }
  if (workspace_.bytes() != workspace_bytes_) note();
}

size_t Replica::trim() {
  workspace_bytes_ = 0;
  return workspace_.release();
}

Placement Replica::placement() const {
  Placement out;
  out.device = device_->info().name;
  out.description = device_->info().description;
  out.dtype = dtype_text(weights_->dtype);
  if (device_->info().kind == "cpu") out.threads = options_.threads;
  out.cores = options_.cores;
  out.weight_bytes = weights_->buffer.bytes();
  out.workspace_bytes = workspace_bytes_;
  out.batch_tokens = batch_tokens_;
  out.on_device =
      workspace_on_device_ && device_->owns(weights_->buffer.data(), weights_->buffer.bytes());
  return out;
}

}  // namespace tamis
