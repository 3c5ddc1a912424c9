#include "engine/replica.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace tamis {
namespace {

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

/// Runs the batch again with a probe, to say where the first NaN or Inf came from.
[[noreturn]] void explain_not_finite(const ModelWeights& weights, const PackedBatch& batch,
                                     Ops& ops, Workspace& workspace, Mat out) {
  const std::string model = weights.spec.directory.string();
  forward(weights, batch, ops, workspace, out, [&](std::string_view stage, ConstMat x) {
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

Replica::Replica(std::unique_ptr<Device> device, const ModelSpec& spec, const LogSink& log)
    : device_(std::move(device)), weights_(load_weights(spec, device_->ops(), log)) {
  const ModelTensors tensors(spec, weights_->checkpoint, {});
  plan_ = plan_memory(spec, tensors, device_->ops(), device_->preferred_batch_tokens());
}

std::vector<float> Replica::run(std::span<const SequenceView> sequences, size_t batch_tokens_asked,
                                const Progress& progress) const {
  const auto width = static_cast<size_t>(output_size(*weights_));
  std::vector<float> results(sequences.size() * width);
  std::vector<size_t> lengths;
  lengths.reserve(sequences.size());
  for (const SequenceView& sequence : sequences) lengths.push_back(sequence.ids.size());

  std::vector<float> rows;
  size_t done = 0;
  for (const auto& tickets : plan_batches(lengths, batch_tokens(batch_tokens_asked))) {
    const PackedBatch batch = pack(sequences, tickets, spec().positions);
    rows.resize(batch.sequences() * width);
    const Mat out(rows.data(), static_cast<int64_t>(batch.sequences()),
                  static_cast<int64_t>(width));
    {
      const std::lock_guard lock(turn_);
      forward(*weights_, batch, device_->ops(), workspace_, out);
      if (!all_finite(rows)) {
        explain_not_finite(*weights_, batch, device_->ops(), workspace_, out);
      }
    }
    for (size_t i = 0; i < batch.sequences(); ++i) {
      std::copy_n(out.row(static_cast<int64_t>(i)), width,
                  results.begin() + static_cast<std::ptrdiff_t>(batch.tickets[i] * width));
    }
    done += batch.sequences();
    if (progress) progress(done, sequences.size());
  }
  return results;
}

}  // namespace tamis
