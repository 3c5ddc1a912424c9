#include "train/network.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace tamis::training {
namespace {

constexpr int32_t kPositionBits = 14;  // of a noise row; the rest is the sequence's number

TrainOps& require_train_ops(Stream& stream, const Device& device) {
  TrainOps* ops = stream.train_ops();
  if (ops == nullptr) {
    fail(ErrorCode::kUnimplemented, "{} does not train; cpu and cuda do", device.info().name);
  }
  return *ops;
}

}  // namespace

Network::Network(const ModelSpec& spec, Parameters& parameters, std::shared_ptr<Device> device,
                 std::shared_ptr<Stream> stream, std::shared_ptr<MemoryAccount> account,
                 const NetworkOptions& options)
    : spec_(spec),
      parameters_(parameters),
      device_(std::move(device)),
      account_(std::move(account)),
      stream_(std::move(stream)),
      ops_(require_train_ops(*stream_, *device_)),
      options_(options) {}

Network::~Network() {
  try {
    stream_->synchronize(options_.timeout);
  } catch (const Error&) {
    // The device has failed, which whoever used it has heard.
  }
}

int64_t Network::outputs() const {
  if (spec_.kind == ModelKind::kEmbedder) return spec_.config.hidden_size;
  return std::max<int64_t>(1, static_cast<int64_t>(spec_.config.labels.size()));
}

ActivationShape Network::shape(int64_t tokens, int64_t sequences) const {
  ActivationShape out;
  out.tokens = tokens;
  out.sequences = sequences;
  out.outputs = outputs();
  out.token_outputs = options_.token_heads ? std::max<int64_t>(1, spec_.colbert_dimension) : 0;
  out.lowest = parameters_.lowest_trained();
  out.rank = parameters_.lora().rank;
  out.adapter_dropout = parameters_.lora().dropout > 0;
  return out;
}

TrainShape Network::train_shape(int64_t tokens, int64_t longest) const {
  const io::ModelConfig& c = spec_.config;
  return {tokens, longest, std::max(c.intermediate_size, 3 * c.hidden_size),
          c.hidden_size / c.num_attention_heads};
}

size_t Network::bytes_for(int64_t tokens, int64_t sequences, int64_t longest) const {
  return Activations::bytes_for(spec_, options_.policy, shape(tokens, sequences),
                                ops_.scratch_bytes(train_shape(tokens, longest)));
}

void Network::reserve(int64_t tokens, int64_t sequences, int64_t longest) {
  activations_.reserve(spec_, options_.policy, shape(tokens, sequences),
                       ops_.scratch_bytes(train_shape(tokens, longest)), *device_, account_);
  ops_.set_scratch(activations_.scratch());
}

Dropout Network::dropout(Site site, int64_t layer) const {
  Dropout out;
  if (!drop_) return out;
  const bool head = site == Site::kHeadIn || site == Site::kHeadOut;
  out.rate = head                           ? options_.dropout.classifier
             : site == Site::kProbabilities ? options_.dropout.attention
                                            : options_.dropout.hidden;
  out.seed = seed_;
  out.site = static_cast<uint32_t>(layer) * 8 + static_cast<uint32_t>(site);
  return out;
}

Dropout Network::adapter_dropout(const Adapter& adapter) const {
  constexpr uint32_t kAdapters = uint32_t{1} << 31;  // above the sites of any layer
  Dropout out;
  if (!drop_) return out;
  out.rate = parameters_.lora().dropout;
  out.seed = seed_;
  out.site = kAdapters | adapter.site;
  return out;
}

void Network::upload(const TrainBatch& batch) {
  const PackedBatch& packed = batch.packed;
  const size_t tokens = packed.tokens(), sequences = packed.sequences();
  int64_t longest = 0;
  for (size_t s = 0; s < sequences; ++s) {
    longest = std::max<int64_t>(longest, packed.cu_seqlens[s + 1] - packed.cu_seqlens[s]);
  }
  reserve(static_cast<int64_t>(tokens), static_cast<int64_t>(sequences), longest);
  seed_ = batch.seed;
  drop_ = batch.dropout;
  staged_.clear();
  for (const auto* part : {&packed.ids, &packed.positions, &packed.type_ids, &packed.cu_seqlens}) {
    staged_.insert(staged_.end(), part->begin(), part->end());
  }
  for (size_t s = 0; s < sequences; ++s) {
    for (int32_t i = 0; i < packed.cu_seqlens[s + 1] - packed.cu_seqlens[s]; ++i) {
      staged_.push_back(batch.numbers[s] << kPositionBits | i);
    }
  }
  for (size_t s = 0; s < sequences; ++s) {
    staged_.push_back(spec_.pooling == Pooling::kLast ? packed.cu_seqlens[s + 1] - 1
                                                      : packed.cu_seqlens[s]);
  }
  for (size_t s = 0; s < sequences; ++s) staged_.push_back(batch.numbers[s] << kPositionBits);
  int32_t* p = activations_.indices();
  stream_->upload(p, staged_.data(), staged_.size() * sizeof(int32_t));
  batch_.view = {p,
                 p + tokens,
                 p + 2 * tokens,
                 p + 3 * tokens,
                 static_cast<int64_t>(tokens),
                 static_cast<int64_t>(sequences)};
  const int32_t* noise = p + 3 * tokens + sequences + 1;
  batch_.noise_rows = reinterpret_cast<const uint32_t*>(noise);
  batch_.rows = noise + tokens;
  batch_.row_noise = reinterpret_cast<const uint32_t*>(noise + tokens + sequences);
  batch_.host_cu_seqlens = staged_.data() + 3 * tokens;
}

void Network::linear(const Linear& w, ConstMat x, Mat y) {
  ops_.product({x}, {w.matrix(), true}, w.bias, false, y);
  for (const Adapter& adapter : w.adapters) {
    const Mat low = low_rank(adapter, adapter_input(adapter, x));
    ops_.product({low}, {adapter.b, true}, nullptr, true,
                 y.col_range(adapter.begin, adapter.begin + adapter.b.rows));
  }
}

void Network::linear_backward(const Linear& w, ConstMat x, ConstMat d_y, bool accumulate, Mat d_x) {
  if (w.d_weight != nullptr) {
    ops_.product({d_y, true}, {x}, nullptr, true, w.d_matrix());
    ops_.add_columns(d_y, w.d_bias);
  }
  if (d_x.data != nullptr) ops_.product({d_y}, {w.matrix()}, nullptr, accumulate, d_x);
  for (const Adapter& adapter : w.adapters) adapter_backward(adapter, x, d_y, d_x);
}

// ---- adapters

ConstMat Network::adapter_input(const Adapter& adapter, ConstMat x) {
  const Dropout d = adapter_dropout(adapter);
  if (!d) return x;
  const Mat dropped = activations_.adapter_input(x.cols);
  ops_.dropout(x, {}, d, batch_.noise_rows, dropped);
  return dropped;
}

Mat Network::low_rank(const Adapter& adapter, ConstMat input) {
  const Mat low = activations_.low_rank(0);
  ops_.product({input}, {adapter.a, true}, nullptr, false, low);
  ops_.scale(low, parameters_.lora().scale());
  return low;
}

void Network::adapter_backward(const Adapter& adapter, ConstMat x, ConstMat d_y, Mat d_x) {
  const ConstMat d_part = d_y.col_range(adapter.begin, adapter.begin + adapter.b.rows);
  const ConstMat input = adapter_input(adapter, x);
  ops_.product({d_part, true}, {low_rank(adapter, input)}, nullptr, true, adapter.d_b);
  const Mat d_low = activations_.low_rank(1);
  ops_.product({d_part}, {adapter.b}, nullptr, false, d_low);
  ops_.scale(d_low, parameters_.lora().scale());
  ops_.product({d_low, true}, {input}, nullptr, true, adapter.d_a);
  if (d_x.data == nullptr) return;
  const Dropout d = adapter_dropout(adapter);
  if (!d) {
    ops_.product({d_low}, {adapter.a}, nullptr, true, d_x);
    return;
  }
  const Mat d_input = activations_.adapter_input(x.cols);  // the input is not needed any more
  ops_.product({d_low}, {adapter.a}, nullptr, false, d_input);
  ops_.dropout(d_input, d_x, d, batch_.noise_rows, d_x);
}

void Network::norm_backward(const Norm& norm, ConstMat d_y, ConstMat x, const float* stats,
                            Mat d_x) {
  ops_.layer_norm_backward(d_y, x, stats, norm.weights.gamma, d_x, norm.d_gamma, norm.d_beta);
}

void Network::watch(bool on) {
  watched_ = on;
  not_finite_.clear();
}

void Network::look_at(ConstMat m, const std::string& where) {
  if (!watched_ || !not_finite_.empty()) return;
  if (!std::isfinite(ops_.sum_of_squares(m.data, {nullptr, 1, m.rows * m.cols}))) {
    not_finite_ = where;
  }
}

// ---- embeddings

void Network::run_embeddings() {
  ops_.embed(parameters_.embeddings(), batch_.view, activations_.embedding_sum());
  embeddings_output(activations_.hidden());
}

void Network::embeddings_output(Mat to) {
  const Norm norm = parameters_.norm(Slot::kEmbeddingGamma, Slot::kEmbeddingBeta);
  ops_.layer_norm(activations_.embedding_sum(), norm.weights, to, activations_.embedding_stats());
  if (const Dropout d = dropout(Site::kEmbeddings)) ops_.dropout(to, {}, d, batch_.noise_rows, to);
}

void Network::embeddings_backward() {
  const Mat d = activations_.gradient();
  const Norm norm = parameters_.norm(Slot::kEmbeddingGamma, Slot::kEmbeddingBeta);
  if (norm.d_gamma == nullptr) return;  // all of the embeddings are frozen
  if (const Dropout drop = dropout(Site::kEmbeddings)) {
    ops_.dropout(d, {}, drop, batch_.noise_rows, d);
  }
  norm_backward(norm, d, activations_.embedding_sum(), activations_.embedding_stats(), d);
  ops_.embed_backward(
      d, batch_.view, parameters_.at(Slot::kWords).gradient,
      parameters_.at(Slot::kPositions).gradient,
      parameters_.has(Slot::kTypes) ? parameters_.at(Slot::kTypes).gradient : nullptr);
}

// ---- layers

TrainAttention Network::attention(const LayerRecord& r, int64_t layer) const {
  const int64_t h = spec_.config.hidden_size;
  TrainAttention a;
  a.q = r.query_key_value.col_range(0, h);
  a.k = r.query_key_value.col_range(h, 2 * h);
  a.v = r.query_key_value.col_range(2 * h, 3 * h);
  a.cu_seqlens = batch_.view.cu_seqlens;
  a.host_cu_seqlens = batch_.host_cu_seqlens;
  a.sequences = batch_.view.sequences;
  a.heads = spec_.config.num_attention_heads;
  a.dropout = dropout(Site::kProbabilities, layer);
  a.noise_rows = batch_.noise_rows;
  return a;
}

void Network::run_attention(int64_t layer, const LayerParameters& w, const LayerRecord& r,
                            ConstMat x) {
  linear(w.query_key_value, x, r.query_key_value);
  ops_.attention(attention(r, layer), r.context);
}

void Network::run_layer(int64_t layer) {
  const LayerParameters w = parameters_.layer(layer);
  const LayerRecord r = activations_.record(layer);
  const Mat x = activations_.hidden(), t = activations_.temporary();
  run_attention(layer, w, r, x);
  linear(w.attention_out, r.context, t);
  ops_.dropout(t, x, dropout(Site::kAttentionOut, layer), batch_.noise_rows, r.attention_sum);
  ops_.layer_norm(r.attention_sum, w.attention_norm.weights, x, r.attention_stats);
  linear(w.up, x, r.up);
  const Mat active = activations_.wide(w.up.out);
  ops_.activate(spec_.activation, r.up, active);
  linear(w.down, active, t);
  ops_.dropout(t, x, dropout(Site::kFeedForward, layer), batch_.noise_rows, r.output_sum);
  ops_.layer_norm(r.output_sum, w.output_norm.weights, x, r.output_stats);
}

ConstMat Network::input_of(int64_t layer) {
  const CheckpointPolicy& policy = options_.policy;
  if (policy.recompute == Recompute::kLayers && layer % policy.every == 0) {
    return activations_.segment_input(layer / policy.every);
  }
  const Mat x = activations_.again();
  if (layer == 0) {
    embeddings_output(x);
  } else {
    const LayerRecord before = activations_.record(layer - 1);
    ops_.layer_norm(before.output_sum, parameters_.layer(layer - 1).output_norm.weights, x,
                    before.output_stats);
  }
  return x;
}

void Network::layer_backward(int64_t layer) {
  const LayerParameters w = parameters_.layer(layer);
  const LayerRecord r = activations_.record(layer);
  const Mat d = activations_.gradient(), t = activations_.temporary();
  const int64_t h = spec_.config.hidden_size, f = w.up.out;

  norm_backward(w.output_norm, d, r.output_sum, r.output_stats, d);
  ops_.dropout(d, {}, dropout(Site::kFeedForward, layer), batch_.noise_rows, t);
  const Mat active = activations_.wide(f), d_up = activations_.wide_behind(f, f);
  ops_.activate(spec_.activation, r.up, active);
  linear_backward(w.down, active, t, false, d_up);
  ops_.activate_backward(spec_.activation, r.up, d_up, d_up);
  const Mat middle = activations_.again();
  ops_.layer_norm(r.attention_sum, w.attention_norm.weights, middle, r.attention_stats);
  linear_backward(w.up, middle, d_up, true, d);

  norm_backward(w.attention_norm, d, r.attention_sum, r.attention_stats, d);
  ops_.dropout(d, {}, dropout(Site::kAttentionOut, layer), batch_.noise_rows, t);
  const ConstMat x = input_of(layer);
  if (options_.policy.recompute == Recompute::kAttention) run_attention(layer, w, r, x);
  const Mat d_context = activations_.wide(h), d_qkv = activations_.wide_behind(h, 3 * h);
  linear_backward(w.attention_out, r.context, t, false, d_context);
  ops_.attention_backward(attention(r, layer), r.context, d_context, d_qkv.col_range(0, h),
                          d_qkv.col_range(h, 2 * h), d_qkv.col_range(2 * h, 3 * h));
  linear_backward(w.query_key_value, x, d_qkv, true, d);
}

void Network::run_segment(int64_t segment) {
  const int64_t every = options_.policy.every, layers = spec_.config.num_hidden_layers;
  const int64_t begin = segment * every;
  const Mat x = activations_.hidden();
  ops_.dropout(activations_.segment_input(segment), {}, {}, batch_.noise_rows, x);  // a copy
  for (int64_t i = begin; i < std::min(layers, begin + every); ++i) run_layer(i);
  kept_segment_ = segment;
}

// ---- all of it

NetworkOutput Network::forward(const TrainBatch& batch, bool keep) {
  upload(batch);
  run_embeddings();
  look_at(activations_.hidden(), "the embeddings");
  const int64_t layers = spec_.config.num_hidden_layers;
  const bool segments = options_.policy.recompute == Recompute::kLayers;
  for (int64_t i = 0; i < layers; ++i) {
    if (keep && segments && i % options_.policy.every == 0 &&
        activations_.keeps_segment(i / options_.policy.every)) {
      ops_.dropout(activations_.hidden(), {}, {}, batch_.noise_rows,
                   activations_.segment_input(i / options_.policy.every));
    }
    run_layer(i);
    look_at(activations_.hidden(), fmt::format("layer {}", i));
  }
  kept_segment_ = segments ? (layers - 1) / options_.policy.every : -1;
  NetworkOutput out = run_head();
  for (const float x : out.vectors) {
    if (watched_ && not_finite_.empty() && !std::isfinite(x)) not_finite_ = "the head";
  }
  return out;
}

void Network::backward(const NetworkOutput& d_outputs) {
  try {
    add_gradients(d_outputs);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    fail(ErrorCode::kUnavailable, "in the middle of a backward pass: {}", error.what());
  }
}

void Network::add_gradients(const NetworkOutput& d_outputs) {
  parameters_.touch(std::span(staged_).first(static_cast<size_t>(batch_.view.tokens)));
  if (spec_.kind == ModelKind::kCrossEncoder) {
    classifier_backward(d_outputs.vectors);
  } else {
    pool_backward(d_outputs.vectors);
    if (options_.token_heads) token_heads_backward(d_outputs);
  }
  const int64_t layers = spec_.config.num_hidden_layers;
  const bool segments = options_.policy.recompute == Recompute::kLayers;
  for (int64_t i = layers - 1; i >= parameters_.lowest_trained(); --i) {
    if (segments && i / options_.policy.every != kept_segment_) {
      run_segment(i / options_.policy.every);
    }
    layer_backward(i);
    look_at(activations_.gradient(), fmt::format("the gradient of layer {}", i));
  }
  embeddings_backward();
  stream_->synchronize(options_.timeout);
}

}  // namespace tamis::training
