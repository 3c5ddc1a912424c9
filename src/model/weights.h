#pragma once

#include <memory>
#include <vector>

#include "device/device.h"
#include "io/checkpoint.h"
#include "model/spec.h"

namespace tamis {

struct LayerWeights {
  // Queries apart from keys and values: the last layer needs queries of a few rows only.
  std::unique_ptr<PackedLinear> query;          ///< [hidden, hidden]
  std::unique_ptr<PackedLinear> key_value;      ///< [2 hidden, hidden]
  std::unique_ptr<PackedLinear> attention_out;  ///< [hidden, hidden]
  std::unique_ptr<PackedLinear> up;             ///< [intermediate, hidden]
  std::unique_ptr<PackedLinear> down;           ///< [hidden, intermediate]
  LayerNormWeights attention_norm;
  LayerNormWeights output_norm;
};

/// The weights of one model, prepared for one device. Immutable; owns the mapped checkpoint, from
/// which word rows are read.
struct ModelWeights {
  ModelSpec spec;
  io::Checkpoint checkpoint;
  EmbeddingWeights embeddings;
  std::vector<LayerWeights> layers;
  std::unique_ptr<PackedLinear> head_dense;  ///< cross-encoders: tanh(dense(first token))
  std::unique_ptr<PackedLinear> head_out;    ///< cross-encoders: [labels, hidden]
  int64_t parameters = 0;
};

/// Reads, checks and packs. Pages of the file are given back as soon as they are packed, so that
/// source and result are never in memory together; the word table stays in the file.
/// Errors: data_loss (mismatches listed; NaN or Inf named), and those of Checkpoint::open.
std::shared_ptr<const ModelWeights> load_weights(const ModelSpec& spec, Ops& ops,
                                                 const LogSink& log);

/// What the weights and a workspace for batch_tokens will take; nothing is allocated.
MemoryPlan plan_memory(const ModelSpec& spec, const ModelTensors& tensors, const Ops& ops,
                       size_t batch_tokens);

}  // namespace tamis
