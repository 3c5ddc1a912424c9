// The ends of a Network: a classifier, pooled vectors, BGE-M3's heads of each token; and their way
// back.

#include "train/network.h"

namespace tamis::training {

std::vector<float> Network::download(ConstMat m) {
  std::vector<float> host(static_cast<size_t>(m.rows * m.cols));
  stream_->download(host.data(), m.data, host.size() * sizeof(float));
  stream_->synchronize(options_.timeout);
  return host;
}

std::vector<float> Network::run_classifier() {
  const int64_t h = spec_.config.hidden_size;
  const Mat in = activations_.head(0, h), dense = activations_.head(1, h),
            active = activations_.head(2, h), out = activations_.head(3, outputs());
  stream_->ops().gather_rows(activations_.hidden(), batch_.rows, in);
  // RoBERTa's head drops before its dense layer as well; BERT's pooler does not.
  if (spec_.positions.after_padding) {
    ops_.dropout(in, {}, dropout(Site::kHeadIn), batch_.row_noise, in);
  }
  linear(parameters_.linear(Slot::kHeadDenseWeight, Slot::kHeadDenseBias), in, dense);
  ops_.activate(Activation::kTanh, dense, active);
  ops_.dropout(active, {}, dropout(Site::kHeadOut), batch_.row_noise, active);
  linear(parameters_.linear(Slot::kHeadOutWeight, Slot::kHeadOutBias), active, out);
  return download(out);
}

void Network::classifier_backward(std::span<const float> d_outputs) {
  const int64_t h = spec_.config.hidden_size;
  const Mat in = activations_.head(0, h), dense = activations_.head(1, h),
            active = activations_.head(2, h), d_logits = activations_.head(3, outputs());
  stream_->upload(d_logits.data, d_outputs.data(), d_outputs.size_bytes());
  const Linear out = parameters_.linear(Slot::kHeadOutWeight, Slot::kHeadOutBias);
  linear_backward(out, active, d_logits, false, {});
  const Mat d_active = active;  // its values are not needed any more
  ops_.product({d_logits}, {out.matrix()}, nullptr, false, d_active);
  ops_.dropout(d_active, {}, dropout(Site::kHeadOut), batch_.row_noise, d_active);
  ops_.activate_backward(Activation::kTanh, dense, d_active, d_active);
  const Linear middle = parameters_.linear(Slot::kHeadDenseWeight, Slot::kHeadDenseBias);
  const Mat d_in = dense;
  linear_backward(middle, in, d_active, false, d_in);
  if (spec_.positions.after_padding) {
    ops_.dropout(d_in, {}, dropout(Site::kHeadIn), batch_.row_noise, d_in);
  }
  ops_.put_rows(d_in, batch_.rows, activations_.gradient());
}

std::vector<float> Network::pool() {
  const Mat out = activations_.head(0, spec_.config.hidden_size);
  if (spec_.pooling == Pooling::kMean) {
    stream_->ops().mean_rows(activations_.hidden(), batch_.view.cu_seqlens, out);
  } else {
    stream_->ops().gather_rows(activations_.hidden(), batch_.rows, out);
  }
  return download(out);
}

void Network::pool_backward(std::span<const float> d_outputs) {
  const Mat d_vectors = activations_.head(0, spec_.config.hidden_size);
  stream_->upload(d_vectors.data, d_outputs.data(), d_outputs.size_bytes());
  if (spec_.pooling == Pooling::kMean) {
    ops_.mean_rows_backward(d_vectors, batch_.view.cu_seqlens, activations_.gradient());
  } else {
    ops_.put_rows(d_vectors, batch_.rows, activations_.gradient());
  }
}

NetworkOutput Network::run_head() {
  NetworkOutput out;
  if (spec_.kind == ModelKind::kCrossEncoder) {
    out.vectors = run_classifier();
    return out;
  }
  out.vectors = pool();
  if (!options_.token_heads) return out;
  const Mat x = activations_.hidden(), weights = activations_.token_head(1),
            vectors = activations_.token_head(spec_.colbert_dimension);
  linear(parameters_.linear(Slot::kSparseWeight, Slot::kSparseBias), x, weights);
  out.token_weights = download(weights);
  linear(parameters_.linear(Slot::kColbertWeight, Slot::kColbertBias), x, vectors);
  out.token_vectors = download(vectors);
  return out;
}

void Network::token_heads_backward(const NetworkOutput& d) {
  const auto back = [&](const Linear& w, std::span<const float> d_values) {
    const Mat d_y = activations_.token_head(w.out);
    stream_->upload(d_y.data, d_values.data(), d_values.size_bytes());
    linear_backward(w, activations_.hidden(), d_y, true, activations_.gradient());
    stream_->synchronize(options_.timeout);
  };
  back(parameters_.linear(Slot::kSparseWeight, Slot::kSparseBias), d.token_weights);
  back(parameters_.linear(Slot::kColbertWeight, Slot::kColbertBias), d.token_vectors);
}

}  // namespace tamis::training
