#include "backend/sim/sim_ops.h"

#include <chrono>
#include <utility>

#include "base/fail.h"

namespace tamis {
namespace {

// The host computes while it is called; this is for a host that would not.
constexpr std::chrono::hours kHostTimeout{1};

double elementwise(int64_t rows, int64_t cols) {
  return 8.0 * static_cast<double>(rows) * static_cast<double>(cols);
}

LayerNormWeights translate(LayerNormWeights w, int64_t n, SimOperands& operands) {
  w.gamma = operands.array(w.gamma, n, "gamma");
  w.beta = operands.array(w.beta, n, "beta");
  return w;
}

EmbeddingWeights translate(EmbeddingWeights w, SimOperands& operands) {
  const auto words = static_cast<size_t>(w.vocab * w.hidden) * size_of(w.word_dtype);
  w.words = operands.bytes(w.words, words, "words");
  w.positions = operands.array(w.positions, w.max_positions * w.hidden, "position table");
  w.types = operands.array(w.types, w.type_vocab * w.hidden, "type table");
  w.norm = translate(w.norm, w.hidden, operands);
  return w;
}

BatchView translate(BatchView batch, const EmbeddingWeights& w, SimOperands& operands) {
  batch.ids = operands.indices(batch.ids, batch.tokens, w.vocab, "ids");
  batch.positions = operands.indices(batch.positions, batch.tokens, w.max_positions, "positions");
  batch.type_ids = operands.indices(batch.type_ids, batch.tokens, w.type_vocab, "type_ids");
  batch.cu_seqlens =
      operands.bounds(batch.cu_seqlens, batch.sequences, 0, batch.tokens, "cu_seqlens");
  return batch;
}

AttentionView translate(AttentionView a, SimOperands& operands) {
  operands.require(a.heads > 0 && a.q.cols % a.heads == 0, "heads", "a divisor of the width");
  a.q = operands.mat(a.q, "q");
  a.k = operands.mat(a.k, a.k.rows, a.q.cols, "k");
  a.v = operands.mat(a.v, a.k.rows, a.q.cols, "v");
  a.cu_queries = operands.bounds(a.cu_queries, a.sequences, 0, a.q.rows, "cu_queries");
  a.cu_keys = operands.bounds(a.cu_keys, a.sequences, 0, a.k.rows, "cu_keys");
  return a;
}

double attention_flops(const AttentionView& a) {
  double scores = 0;
  for (int64_t s = 0; s < a.sequences; ++s) {
    scores += static_cast<double>(a.cu_queries[s + 1] - a.cu_queries[s]) *
              static_cast<double>(a.cu_keys[s + 1] - a.cu_keys[s]);
  }
  return 4 * scores * static_cast<double>(a.q.cols);
}

}  // namespace

StreamOptions sim_host_options() {
  StreamOptions options;
  options.threads = 1;
  return options;
}

SimCore::SimCore(const std::string& device, std::shared_ptr<SimState> shared_state,
                 std::shared_ptr<Device> host_device)
    : name(device),
      state(std::move(shared_state)),
      host(std::move(host_device)),
      arithmetic(host->make_stream(sim_host_options())),
      memory(device, state, host),
      queue(device, state) {}

SimOps::SimOps(std::shared_ptr<SimCore> core, std::shared_ptr<SimLane> lane,
               const StreamOptions& options)
    : core_(std::move(core)), lane_(std::move(lane)), packing_options_(options) {}

void SimOps::submit(std::string_view op, Body body) {
  SimCore& core = *core_;  // outlives the lane's work: closing the lane waits for it
  core.queue.push(*lane_, [&core, op, scratch = scratch_, body = std::move(body)] {
    if (core.state->next_op_fails()) {
      fail(ErrorCode::kUnavailable, "{}: {} broke the device (on request: fail_op)", core.name, op);
    }
    SimOperands operands(core.memory, op);
    Ops& host = core.arithmetic->ops();
    std::byte* bytes =
        scratch.empty() ? nullptr : operands.aligned(scratch.data(), scratch.size(), "scratch");
    host.set_scratch({bytes, scratch.size()});
    const double flops = body(operands, host);
    core.arithmetic->synchronize(kHostTimeout);
    return core.state->time_of_op(flops);
  });
}

void SimOps::pack_linear(const LinearSource& source, DType dtype, std::byte* out) {
  if (packing_ == nullptr) packing_ = core_->host->make_stream(packing_options_);
  packing_->ops().pack_linear(source, dtype, out);
}

void SimOps::set_scratch(std::span<std::byte> scratch) {
  core_->state->require_alive(core_->name);
  scratch_ = scratch;
}

void SimOps::embed_layer_norm(const EmbeddingWeights& weights, const BatchView& batch, Mat out) {
  submit("embed_layer_norm", [=](SimOperands& operands, Ops& host) {
    const EmbeddingWeights w = translate(weights, operands);
    const BatchView b = translate(batch, w, operands);
    host.embed_layer_norm(w, b, operands.mat(out, b.tokens, w.hidden, "out"));
    return elementwise(b.tokens, w.hidden);
  });
}

void SimOps::linear(const PackedLinear& weights, ConstMat x, Activation activation, Mat y) {
  const Device& host_device = *core_->host;
  submit("linear", [=, &host_device](SimOperands& operands, Ops& host) {
    PackedLinear w = weights;
    const int64_t in = w.in_features, out = w.out_features;
    operands.require(w.bytes == host_device.linear_bytes(in, out, w.dtype), "weights",
                     "of the size that Device::linear_bytes says");
    w.data = operands.aligned(w.data, w.bytes, "weights");
    host.linear(w, operands.mat(x, x.rows, in, "x"), activation, operands.mat(y, x.rows, out, "y"));
    return 2.0 * static_cast<double>(x.rows) * static_cast<double>(in) * static_cast<double>(out);
  });
}

void SimOps::add_layer_norm(ConstMat x, ConstMat residual, const LayerNormWeights& weights, Mat y) {
  submit("add_layer_norm", [=](SimOperands& operands, Ops& host) {
    const ConstMat r =
        residual.data ? operands.mat(residual, x.rows, x.cols, "residual") : residual;
    host.add_layer_norm(operands.mat(x, "x"), r, translate(weights, x.cols, operands),
                        operands.mat(y, x.rows, x.cols, "y"));
    return elementwise(x.rows, x.cols);
  });
}

void SimOps::attention(const AttentionView& a, Mat out) {
  submit("attention", [=](SimOperands& operands, Ops& host) {
    const AttentionView view = translate(a, operands);
    host.attention(view, operands.mat(out, a.q.rows, a.q.cols, "out"));
    return attention_flops(view);
  });
}

void SimOps::gather_rows(ConstMat x, const int32_t* rows, Mat y) {
  submit("gather_rows", [=](SimOperands& operands, Ops& host) {
    host.gather_rows(operands.mat(x, "x"), operands.indices(rows, y.rows, x.rows, "rows"),
                     operands.mat(y, y.rows, x.cols, "y"));
    return elementwise(y.rows, y.cols);
  });
}

void SimOps::mean_rows(ConstMat x, const int32_t* cu_seqlens, Mat y) {
  submit("mean_rows", [=](SimOperands& operands, Ops& host) {
    host.mean_rows(operands.mat(x, "x"),
                   operands.bounds(cu_seqlens, y.rows, 1, x.rows, "cu_seqlens"),
                   operands.mat(y, y.rows, x.cols, "y"));
    return elementwise(x.rows, x.cols);
  });
}

void SimOps::max_rows(ConstMat x, bool more, Mat y) {
  submit("max_rows", [=](SimOperands& operands, Ops& host) {
    host.max_rows(operands.mat(x, "x"), more, operands.mat(y, 1, x.cols, "y"));
    return elementwise(x.rows, x.cols);
  });
}

void SimOps::l2_normalize(Mat y) {
  submit("l2_normalize", [=](SimOperands& operands, Ops& host) {
    host.l2_normalize(operands.mat(y, "y"));
    return elementwise(y.rows, y.cols);
  });
}

}  // namespace tamis
