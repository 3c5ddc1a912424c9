#include "train/activations.h"

#include <algorithm>
#include <charconv>

#include "base/fail.h"
#include "train/aligned.h"

namespace tamis::training {

CheckpointPolicy parse_policy(std::string_view text) {
  if (text == "none" || text == "false" || text == "False") return {};
  if (text == "true" || text == "True") return {Recompute::kLayers, 1};
  if (text == "attention") return {Recompute::kAttention, 1};
  int64_t every = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), every);
  if (error != std::errc() || end != text.data() + text.size() || every < 1) {
    fail(ErrorCode::kInvalidArgument,
         "gradient checkpointing: expected none, attention, or a number of layers, got \"{}\"",
         text);
  }
  return {Recompute::kLayers, every};
}

std::string to_string(const CheckpointPolicy& policy) {
  if (policy.recompute == Recompute::kNothing) return "none";
  if (policy.recompute == Recompute::kAttention) return "attention";
  return std::to_string(policy.every);
}

void Activations::plan(const ModelSpec& spec, const CheckpointPolicy& policy,
                       const ActivationShape& shape, size_t scratch) {
  policy_ = policy;
  tokens_ = shape.tokens;
  sequences_ = shape.sequences;
  hidden_ = spec.config.hidden_size;
  intermediate_ = spec.config.intermediate_size;
  widest_ = std::max(hidden_, shape.outputs);
  layers_ = spec.config.num_hidden_layers;
  lowest_ = std::min(shape.lowest, layers_);
  rank_ = shape.rank;
  scratch_bytes_ = scratch;
  int64_t end = 0;
  const auto take = [&](int64_t floats) {
    const int64_t begin = end;
    end += aligned(floats);
    return begin;
  };
  const int64_t t = tokens_, h = hidden_, f = intermediate_;
  const int64_t attention = aligned(3 * t * h) + aligned(t * h);
  const int64_t rest = 2 * aligned(t * h) + aligned(t * f) + 2 * aligned(2 * t);
  // Layers that do not learn share the first record.
  const int64_t kept = layers_ - lowest_ + (lowest_ > 0 ? 1 : 0);
  records_ = end;
  switch (policy.recompute) {
    case Recompute::kNothing:
      record_size_ = attention + rest;
      end += kept * record_size_;
      break;
    case Recompute::kAttention:
      record_size_ = rest;
      end += kept * record_size_;
      shared_ = take(attention);
      break;
    case Recompute::kLayers:
      record_size_ = attention + rest;
      end += std::min(policy.every, layers_) * record_size_;
      segments_ = end;
      end +=
          ((layers_ + policy.every - 1) / policy.every - lowest_ / policy.every) * aligned(t * h);
      break;
  }
  embedding_ = take(t * h);
  stats_ = take(2 * t);
  x_ = take(t * h);
  gradient_ = take(t * h);
  temporary_ = take(t * h);
  again_ = take(t * h);
  wide_ = take(t * std::max(2 * f, 4 * h));
  head_ = take(4 * aligned(sequences_ * widest_));
  token_head_ = take(t * shape.token_outputs);
  aligned_rank_ = aligned(t * rank_);
  low_rank_ = take(2 * aligned_rank_);
  adapter_input_ = take(shape.adapter_dropout ? t * std::max(f, h) : 0);
  indices_ = take(index_count(t, sequences_));
  scratch_ = take(static_cast<int64_t>((scratch + sizeof(float) - 1) / sizeof(float)));
  floats_ = end;
}

size_t Activations::bytes_for(const ModelSpec& spec, const CheckpointPolicy& policy,
                              const ActivationShape& shape, size_t scratch) {
  Activations planned;
  planned.plan(spec, policy, shape, scratch);
  return static_cast<size_t>(planned.floats_) * sizeof(float);
}

void Activations::reserve(const ModelSpec& spec, const CheckpointPolicy& policy,
                          const ActivationShape& shape, size_t scratch, Device& device,
                          const std::shared_ptr<MemoryAccount>& account) {
  plan(spec, policy, shape, scratch);
  const size_t bytes = static_cast<size_t>(floats_) * sizeof(float);
  if (bytes <= buffer_.bytes()) return;
  buffer_ = {};
  buffer_ = device.allocate(bytes, account, Purpose::kWorkspace);
}

LayerRecord Activations::record(int64_t layer) const {
  int64_t slot = layer % policy_.every;
  if (policy_.recompute != Recompute::kLayers && lowest_ > 0) {
    slot = std::max<int64_t>(0, layer - lowest_ + 1);
  } else if (policy_.recompute != Recompute::kLayers) {
    slot = layer;
  }
  int64_t next = records_ + slot * record_size_;
  const auto take = [&](int64_t cols) {
    const Mat m = matrix(next, cols);
    next += aligned(tokens_ * cols);
    return m;
  };
  LayerRecord out;
  out.attention_sum = take(hidden_);
  out.up = take(intermediate_);
  out.output_sum = take(hidden_);
  out.attention_stats = take(2).data;
  out.output_stats = take(2).data;
  if (policy_.recompute == Recompute::kAttention) next = shared_;
  out.query_key_value = take(3 * hidden_);
  out.context = take(hidden_);
  return out;
}

Mat Activations::segment_input(int64_t segment) const {
  return matrix(segments_ + (segment - lowest_ / policy_.every) * aligned(tokens_ * hidden_),
                hidden_);
}

Mat Activations::head(int which, int64_t cols) const {
  return {at(head_ + which * aligned(sequences_ * widest_)), sequences_, cols};
}

int32_t* Activations::indices() const {
  return reinterpret_cast<int32_t*>(buffer_.data() + static_cast<size_t>(indices_) * sizeof(float));
}

std::span<std::byte> Activations::scratch() const {
  return {reinterpret_cast<std::byte*>(at(scratch_)), scratch_bytes_};
}

}  // namespace tamis::training
