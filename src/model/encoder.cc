#include "model/encoder.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/fail.h"

namespace tamis {

size_t Workspace::bytes_for(const ModelSpec& spec, size_t tokens) {
  const auto h = static_cast<size_t>(spec.config.hidden_size);
  const auto f = static_cast<size_t>(spec.config.intermediate_size);
  return tokens * (2 * h + std::max(4 * h, f)) * sizeof(float);
}

void Workspace::reserve(const ModelSpec& spec, size_t tokens) {
  hidden_ = spec.config.hidden_size;
  intermediate_ = spec.config.intermediate_size;
  if (static_cast<int64_t>(tokens) <= tokens_) return;
  buffer_ = FloatBuffer();  // free before allocating anew
  tokens_ = 0;
  buffer_ = FloatBuffer(bytes_for(spec, tokens) / sizeof(float));
  tokens_ = static_cast<int64_t>(tokens);
}

namespace {

void report(const Probe& probe, std::string_view stage, ConstMat output) {
  if (probe) probe(stage, output);
}

std::vector<int32_t> ascending(int64_t count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

/// Which rows of the last layer anybody reads: the first or the last of each sequence.
/// Empty if all are read.
std::vector<int32_t> rows_read(const ModelSpec& spec, const PackedBatch& batch) {
  std::vector<int32_t> rows;
  if (spec.pooling == Pooling::kMean) return rows;
  for (size_t i = 0; i < batch.sequences(); ++i) {
    rows.push_back(spec.pooling == Pooling::kLast ? batch.cu_seqlens[i + 1] - 1
                                                  : batch.cu_seqlens[i]);
  }
  return rows;
}

/// One encoder layer; x is [tokens, hidden] in the workspace. With `rows`, only they are computed
/// beyond keys and values, and x becomes [rows, hidden]. Returns the new x.
Mat run_layer(const LayerWeights& w, const ModelSpec& spec, const PackedBatch& batch, Mat x,
              std::span<const int32_t> rows, Ops& ops, const Workspace& ws) {
  const int64_t h = spec.config.hidden_size;
  const int64_t tokens = x.rows;
  const Mat kv = ws.key_value(tokens);
  ops.linear(*w.key_value, x, Activation::kNone, kv);

  const std::vector<int32_t> one_each = ascending(static_cast<int64_t>(rows.size()) + 1);
  if (!rows.empty()) {
    Mat selected = x.row_range(0, static_cast<int64_t>(rows.size()));
    ops.gather_rows(x, rows, selected);
    x = selected;
  }
  const Mat q = ws.query(x.rows);
  ops.linear(*w.query, x, Activation::kNone, q);

  AttentionView a;
  a.q = q;
  a.k = kv.col_range(0, h);
  a.v = kv.col_range(h, 2 * h);
  a.cu_keys = batch.cu_seqlens.data();
  a.cu_queries = rows.empty() ? a.cu_keys : one_each.data();
  a.sequences = static_cast<int64_t>(batch.sequences());
  a.heads = spec.config.num_attention_heads;
  const Mat context = ws.context(x.rows);
  ops.attention(a, context);

  const Mat temporary = ws.temporary(x.rows);
  ops.linear(*w.attention_out, context, Activation::kNone, temporary);
  ops.add_layer_norm(temporary, x, w.attention_norm, x);
  const Mat up = ws.feed_forward(x.rows);
  ops.linear(*w.up, x, spec.activation, up);
  ops.linear(*w.down, up, Activation::kNone, temporary);
  ops.add_layer_norm(temporary, x, w.output_norm, x);
  return x;
}

/// Refuses what would read outside the tables.
void check_ids(const ModelWeights& weights, const PackedBatch& batch) {
  for (int32_t id : batch.ids) {
    if (id < 0 || id >= weights.embeddings.vocab) {
      fail(ErrorCode::kInvalidArgument, "token id {} is outside the word table of {} rows", id,
           weights.embeddings.vocab);
    }
  }
  const int64_t h = weights.embeddings.hidden;
  const auto positions = static_cast<int64_t>(weights.embeddings.positions.size()) / h;
  const auto types = static_cast<int64_t>(weights.embeddings.types.size()) / h;
  for (size_t i = 0; i < batch.tokens(); ++i) {
    if (batch.positions[i] >= positions || batch.type_ids[i] >= types) {
      fail(ErrorCode::kInvalidArgument,
           "position {} or token type {} is outside its table of {} and {} rows",
           batch.positions[i], batch.type_ids[i], positions, types);
    }
  }
}

}  // namespace

int64_t output_size(const ModelWeights& weights) {
  return weights.head_out ? weights.head_out->out_features() : weights.embeddings.hidden;
}

void forward(const ModelWeights& weights, const PackedBatch& batch, Ops& ops, Workspace& workspace,
             Mat out, const Probe& probe) {
  check_ids(weights, batch);
  const ModelSpec& spec = weights.spec;
  workspace.reserve(spec, batch.tokens());
  BatchView view;
  view.ids = batch.ids.data();
  view.positions = batch.positions.data();
  view.type_ids = batch.type_ids.data();
  view.cu_seqlens = batch.cu_seqlens.data();
  view.tokens = static_cast<int64_t>(batch.tokens());
  view.sequences = static_cast<int64_t>(batch.sequences());

  Mat x = workspace.hidden(view.tokens);
  ops.embed_layer_norm(weights.embeddings, view, x);
  report(probe, "embeddings", x);
  const std::vector<int32_t> rows = rows_read(spec, batch);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const bool last = i + 1 == weights.layers.size();
    const auto read = last ? std::span<const int32_t>(rows) : std::span<const int32_t>();
    x = run_layer(weights.layers[i], spec, batch, x, read, ops, workspace);
    if (probe) report(probe, fmt::format("layer {}", i), x);
  }
  if (spec.kind == ModelKind::kCrossEncoder) {
    const Mat dense = workspace.temporary(x.rows);
    ops.linear(*weights.head_dense, x, Activation::kTanh, dense);
    ops.linear(*weights.head_out, dense, Activation::kNone, out);
  } else if (spec.pooling == Pooling::kMean) {
    ops.mean_rows(x, view.cu_seqlens, out);
  } else {
    ops.gather_rows(x, ascending(x.rows), out);  // the last layer left one row a sequence
  }
  if (spec.normalize) ops.l2_normalize(out);
  report(probe, "the head", out);
}

}  // namespace tamis
