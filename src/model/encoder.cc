#include "model/encoder.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "base/fail.h"

namespace tamis {

namespace {

/// The batch on the device, and which rows of the last layer anybody reads: the first or the last
/// of each sequence, or (mean pooling) all.
struct DeviceBatch {
  BatchView view;
  const int32_t* rows = nullptr;       ///< [sequences]: those that pooling picks; null = all (mean)
  bool all_rows = false;               ///< the head reads every row
  const int32_t* one_each = nullptr;   ///< [sequences + 1]: 0, 1, 2, ...
  const int32_t* host_keys = nullptr;  ///< view.cu_seqlens on the host
  const int32_t* host_one_each = nullptr;  ///< one_each on the host
};

/// The word table; where the host keeps it in its file, the rows of this batch, in order.
EmbeddingWeights find_words(const ModelWeights& weights, const PackedBatch& batch, Workspace& ws) {
  EmbeddingWeights out = weights.embeddings;
  if (out.words != nullptr) return out;
  const HostModel& host = *weights.host;
  host.checkpoint.read_rows(host.tensors.at(Slot::kWords), batch.ids, ws.word_rows());
  out.words = ws.word_rows();
  out.vocab = static_cast<int64_t>(batch.tokens());
  return out;
}

/// `numbered`: ids are the numbers of the tokens.
DeviceBatch upload(const ModelSpec& spec, const PackedBatch& batch, bool numbered,
                   const Outputs& outputs, Workspace& ws) {
  std::vector<int32_t>& all = ws.staged();
  const size_t tokens = batch.tokens(), sequences = batch.sequences();
  all.clear();
  for (const auto* part : {&batch.ids, &batch.positions, &batch.type_ids, &batch.cu_seqlens}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  if (numbered) std::iota(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(tokens), 0);
  for (size_t i = 0; i <= sequences; ++i) all.push_back(static_cast<int32_t>(i));
  for (size_t i = 0; i < sequences; ++i) {
    all.push_back(spec.pooling == Pooling::kLast ? batch.cu_seqlens[i + 1] - 1
                                                 : batch.cu_seqlens[i]);
  }
  const int32_t* p = ws.upload_indices();
  DeviceBatch out;
  out.view = {p,
              p + tokens,
              p + 2 * tokens,
              p + 3 * tokens,
              static_cast<int64_t>(tokens),
              static_cast<int64_t>(sequences)};
  out.one_each = p + 3 * tokens + sequences + 1;
  out.host_keys = all.data() + 3 * tokens;
  out.host_one_each = out.host_keys + sequences + 1;
  if (spec.pooling != Pooling::kMean && spec.pooling != Pooling::kSplade) {
    out.rows = out.one_each + sequences + 1;
  }
  out.all_rows = out.rows == nullptr || outputs.of_tokens();
  return out;
}

/// One encoder layer; x is [tokens, hidden] in the workspace. If it is the last one, only the rows
/// that are read are computed beyond keys and values, and x becomes [rows, hidden]. Returns x.
Mat run_layer(const LayerWeights& w, const ModelSpec& spec, const DeviceBatch& batch, bool last,
              Mat x, const Workspace& ws, const LayerProbe& probe = {}) {
  const int64_t h = spec.config.hidden_size;
  Ops& ops = ws.ops();
  const Mat kv = ws.key_value(x.rows);
  if (probe) probe(LayerInput::kAttention, x);
  ops.linear(w.key_value, x, Activation::kNone, kv);

  const bool select = last && !batch.all_rows;
  if (select) {
    const Mat selected = x.row_range(0, batch.view.sequences);
    ops.gather_rows(x, batch.rows, selected);
    x = selected;
  }
  const Mat q = ws.query(x.rows);
  ops.linear(w.query, x, Activation::kNone, q);

  AttentionView a;
  a.q = q;
  a.k = kv.col_range(0, h);
  a.v = kv.col_range(h, 2 * h);
  a.cu_keys = batch.view.cu_seqlens;
  a.cu_queries = select ? batch.one_each : a.cu_keys;
  a.sequences = batch.view.sequences;
  a.heads = spec.config.num_attention_heads;
  a.dtype = w.query.dtype;
  a.host_keys = batch.host_keys;
  a.host_queries = select ? batch.host_one_each : a.host_keys;
  const Mat context = ws.context(x.rows);
  ops.attention(a, context);
  if (probe) probe(LayerInput::kContext, context);

  const Mat temporary = ws.temporary(x.rows);
  ops.linear(w.attention_out, context, Activation::kNone, temporary);
  ops.add_layer_norm(temporary, x, w.attention_norm, x);
  const Mat up = ws.feed_forward(x.rows);
  if (probe) probe(LayerInput::kUp, x);
  ops.linear(w.up, x, spec.activation, up);
  if (probe) probe(LayerInput::kDown, up);
  ops.linear(w.down, up, Activation::kNone, temporary);
  ops.add_layer_norm(temporary, x, w.output_norm, x);
  return x;
}

/// One row a sequence, logits or vectors, at `to`; x is what the last layer left.
void pool(const ModelWeights& weights, const DeviceBatch& batch, Mat x, Mat to, Workspace& ws) {
  Ops& ops = ws.ops();
  if (weights.head_out) {
    const Mat dense = ws.temporary(x.rows);
    ops.linear(weights.head_dense, x, Activation::kTanh, dense);
    ops.linear(weights.head_out, dense, Activation::kNone, to);
  } else if (batch.rows == nullptr) {
    ops.mean_rows(x, batch.view.cu_seqlens, to);
  } else {
    ops.gather_rows(x, batch.rows, to);
  }
}

void normalize(const Outputs& outputs, Mat vectors, Ops& ops) {
  if (!outputs.normalize) return;
  const auto most = static_cast<int64_t>(outputs.dimension);
  ops.l2_normalize(vectors.col_range(0, most > 0 ? std::min(most, vectors.cols) : vectors.cols));
}

/// Whether what the last layer leaves in place of x is the result: hidden states; or cls and last,
/// and nothing else is wanted.
bool ends_as_x(const ModelWeights& weights, const DeviceBatch& batch, const Outputs& outputs) {
  return outputs.hidden_states || (outputs.vector && !weights.head_out && !batch.all_rows);
}

/// Where run_head leaves all numbers, one after the other.
const float* results(const ModelWeights& weights, const DeviceBatch& batch, const Outputs& outputs,
                     const Workspace& ws) {
  return ends_as_x(weights, batch, outputs) ? ws.hidden(1).data : ws.results();
}

/// x of the last layer to what is wanted of it, in one block.
void run_head(const ModelWeights& weights, const DeviceBatch& batch, const Outputs& outputs, Mat x,
              Workspace& ws) {
  const OutputLayout layout = weights.host->layout(outputs);
  Ops& ops = ws.ops();
  const int64_t sequences = batch.view.sequences, tokens = batch.view.tokens;
  if (ends_as_x(weights, batch, outputs)) return normalize(outputs, x, ops);
  float* at = ws.results();
  const auto next = [&](int64_t rows, size_t cols) {
    const Mat block(at, rows, static_cast<int64_t>(cols));
    at += block.rows * block.cols;
    return block;
  };
  if (outputs.vector) {
    const Mat vectors = next(sequences, layout.vector);
    pool(weights, batch, x, vectors, ws);
    normalize(outputs, vectors, ops);
  }
  if (outputs.token_weights) {
    ops.linear(weights.sparse, x, Activation::kRelu, next(tokens, 1));
  }
  if (outputs.token_vectors) {
    const Mat vectors = next(tokens, layout.token_vector);
    ops.linear(weights.colbert, x, Activation::kNone, vectors);
    normalize(outputs, vectors, ops);
  }
}

/// Batches up to here are repeated as a whole where the device can: it is the launches that take
/// the time of small ones. Chosen by that reckoning, not measured.
constexpr int64_t kMostRepeatedTokens = 512;

/// All that what is queued for a batch depends on, beside the weights of this workspace's model.
std::vector<int64_t> repeat_key(const DeviceBatch& batch, const Outputs& outputs,
                                const Workspace& ws) {
  std::vector<int64_t> key = {reinterpret_cast<int64_t>(ws.buffer().data()),
                              static_cast<int64_t>(ws.bytes()),
                              outputs.vector,
                              outputs.token_weights,
                              outputs.token_vectors,
                              outputs.hidden_states,
                              outputs.normalize,
                              static_cast<int64_t>(outputs.dimension)};
  key.insert(key.end(), batch.host_keys, batch.host_keys + batch.view.sequences + 1);
  return key;
}

void report(const Probe& probe, std::string_view stage, ConstMat x, Workspace& ws) {
  if (!probe) return;
  std::vector<float> host(static_cast<size_t>(x.rows * x.cols));
  ws.stream().download(host.data(), x.data, host.size() * sizeof(float));
  ws.stream().synchronize(ws.timeout());
  probe(stage, {host.data(), x.rows, x.cols});
}

/// SPLADE: the largest logit of each word over the tokens of a sequence, [sequences, vocab]. One
/// sequence after the other and some rows at a time: all logits at once would be a vocabulary a
/// token. What is positive of them, and its logarithm, is the caller's affair.
void run_splade(const ModelWeights& weights, const PackedBatch& batch, Mat x, Workspace& ws,
                std::span<float> out, const Probe& probe) {
  Ops& ops = ws.ops();
  const int64_t words = weights.lm_decoder.out_features;
  const Mat best(ws.results(), 1, words);
  for (size_t s = 0; s < batch.sequences(); ++s) {
    const int64_t begin = batch.cu_seqlens[s], end = batch.cu_seqlens[s + 1];
    for (int64_t t = begin; t < end; t += Workspace::kSpladeRows) {
      const int64_t rows = std::min(Workspace::kSpladeRows, end - t);
      const Mat dense = ws.temporary(rows);
      ops.linear(weights.lm_dense, x.row_range(t, t + rows), weights.spec().activation, dense);
      ops.add_layer_norm(dense, {}, weights.lm_norm, dense);
      const Mat logits(ws.results() + words, rows, words);
      ops.linear(weights.lm_decoder, dense, Activation::kNone, logits);
      ops.max_rows(logits, t > begin, best);
    }
    const size_t row = static_cast<size_t>(words);
    report(probe, "the head", best, ws);
    ws.stream().download(out.data() + s * row, best.data, row * sizeof(float));
  }
}

/// Refuses what would read outside the tables.
void check_ids(const EmbeddingWeights& tables, const PackedBatch& batch) {
  for (int32_t id : batch.ids) {
    if (id < 0 || id >= tables.vocab) {
      fail(ErrorCode::kInvalidArgument, "token id {} is outside the word table of {} rows", id,
           tables.vocab);
    }
  }
  for (size_t i = 0; i < batch.tokens(); ++i) {
    if (batch.positions[i] >= tables.max_positions || batch.type_ids[i] >= tables.type_vocab) {
      fail(ErrorCode::kInvalidArgument,
           "position {} or token type {} is outside its table of {} and {} rows",
           batch.positions[i], batch.type_ids[i], tables.max_positions, tables.type_vocab);
    }
  }
}

void enqueue(const ModelWeights& weights, const PackedBatch& batch, Workspace& ws,
             const Outputs& outputs, std::span<float> out, const Probe& probe) {
  const ModelSpec& spec = weights.spec();
  const EmbeddingWeights embeddings = find_words(weights, batch, ws);
  const DeviceBatch on_device = upload(spec, batch, !weights.embeddings.words, outputs, ws);
  Mat x = ws.hidden(on_device.view.tokens);
  const auto run_layers = [&] {
    ws.ops().embed_layer_norm(embeddings, on_device.view, x);
    report(probe, "embeddings", x, ws);
    for (size_t i = 0; i < weights.layers.size(); ++i) {
      const bool last = i + 1 == weights.layers.size();
      x = run_layer(weights.layers[i], spec, on_device, last, x, ws);
      if (probe) report(probe, fmt::format("layer {}", i), x, ws);
    }
  };
  if (spec.pooling == Pooling::kSplade) {
    run_layers();
    run_splade(weights, batch, x, ws, out, probe);
    return;
  }
  const auto run_all = [&] {
    run_layers();
    run_head(weights, on_device, outputs, x, ws);
  };
  if (probe || on_device.view.tokens > kMostRepeatedTokens) {
    run_all();
  } else {
    ws.stream().repeat(repeat_key(on_device, outputs, ws), run_all);
  }
  const float* result = results(weights, on_device, outputs, ws);
  report(probe, "the head", {result, 1, static_cast<int64_t>(out.size())}, ws);
  ws.stream().download(out.data(), result, out.size_bytes());
}

}  // namespace

void forward_layers(const ModelWeights& embeddings, const PackedBatch& batch, Workspace& workspace,
                    const std::function<const LayerWeights&(int64_t)>& layer,
                    const std::function<void(int64_t, LayerInput, ConstMat)>& probe) {
  check_ids(embeddings.embeddings, batch);
  workspace.reserve(embeddings, batch.tokens());
  const EmbeddingWeights tables = find_words(embeddings, batch, workspace);
  const DeviceBatch on_device =
      upload(embeddings.spec(), batch, !embeddings.embeddings.words, {}, workspace);
  Mat x = workspace.hidden(on_device.view.tokens);
  workspace.ops().embed_layer_norm(tables, on_device.view, x);
  for (int64_t i = 0; i < embeddings.spec().config.num_hidden_layers; ++i) {
    x = run_layer(layer(i), embeddings.spec(), on_device, false, x, workspace,
                  [&](LayerInput input, ConstMat seen) { probe(i, input, seen); });
  }
  workspace.stream().synchronize(workspace.timeout());
}

void forward(const ModelWeights& weights, const PackedBatch& batch, Workspace& workspace,
             const Outputs& outputs, std::span<float> out, const Probe& probe) {
  check_ids(weights.embeddings, batch);
  workspace.reserve(weights, batch.tokens());
  try {
    enqueue(weights, batch, workspace, outputs, out, probe);
  } catch (...) {
    // What was queued before the error still refers to `out` and to the workspace.
    try {
      workspace.stream().synchronize(workspace.timeout());
    } catch (const Error&) {
    }
    throw;
  }
  workspace.stream().synchronize(workspace.timeout());
}

}  // namespace tamis
