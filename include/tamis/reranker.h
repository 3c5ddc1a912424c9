#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/model.h"
#include "tamis/place.h"
#include "tamis/types.h"

namespace tamis {

class Embedder;
class Tokenizer;

struct RerankOptions {
  /// Tokens of a pair, special ones included; the query is cut to 3/4 of it, then the passage to
  /// what is left. More than the model allows is clamped (see Reranker::effective_max_length).
  size_t max_length = 512;
  /// Tokens of the query, without special ones; 0 = 3/4 of max_length. Not of embedders.
  size_t query_max_length = 0;
  /// Tokens of one batch (activations take memory in proportion); a longer pair runs alone.
  /// 0 = the default of the device.
  size_t batch_tokens = 0;
  /// Keep only the best; 0 = all.
  size_t top_n = 0;
  Progress progress = {};
  LongText long_passages = LongText::kTruncate;
  bool keep_end = false;  ///< kTruncate: the passage loses its beginning instead of its end
  CallControl call = {};
};

struct RerankRequest {
  std::string_view query;
  std::vector<std::string_view> passages;
};

struct RerankResult {
  size_t index = 0;           ///< of the passage in the request
  float logit = 0;            ///< raw; of an embedder: the cosine. With n labels: the first one
  double score = 0;           ///< sigmoid(logit), for display; of an embedder: the cosine
  std::vector<float> logits;  ///< all labels, when the model has more than one; else empty
  size_t tokens = 0;          ///< of the pair as scored, special tokens included; of all its chunks
  bool truncated = false;     ///< the query or the passage was cut
  size_t chunks = 1;          ///< windows that were scored: LongText::kChunk
};

/// Scores how well passages answer a query, with a cross-encoder such as bge-reranker-v2-m3, or
/// with an embedder (cosine of the two vectors). Thread rule: const calls may run at the same time;
/// they share the device's threads by turns.
class Reranker {
 public:
  /// Reads a Hugging Face model directory into host memory.
  /// Errors: not_found (directory, config, weights or tokenizer missing); data_loss (a file is
  /// damaged, or tensors do not fit the config: all mismatches are listed; NaN or Inf in a weight);
  /// unimplemented (architecture or component unknown: says which are supported);
  /// invalid_argument (device, isa or thread count).
  static Reranker load(const std::filesystem::path& directory, const LoadOptions& options = {});
  /// The same loaded model, not a second one: scores by cosine. Errors: unimplemented (SPLADE).
  static Reranker of(const Embedder& embedder);
  Reranker(Reranker&&) noexcept;
  Reranker& operator=(Reranker&&) noexcept;
  ~Reranker();

  /// Results sorted by logit, descending, ties by index (models with several labels: by index).
  /// A score does not depend on its neighbours in the batch. Text is UTF-8; ill-formed parts are
  /// replaced and counted in stats.
  /// Errors: invalid_argument (no passages; too long, where that is refused); data_loss (a NaN or
  /// Inf came out of a layer: named); cancelled.
  std::vector<RerankResult> rerank(std::string_view query,
                                   std::span<const std::string_view> passages,
                                   const RerankOptions& options = {},
                                   RunStats* stats = nullptr) const;

  /// Many requests in shared batches; result i belongs to request i.
  std::vector<std::vector<RerankResult>> rerank(std::span<const RerankRequest> requests,
                                                const RerankOptions& options = {},
                                                RunStats* stats = nullptr) const;

  /// What max_length becomes: min(max_length, info().max_length), and at least the special tokens.
  size_t effective_max_length(size_t max_length) const;

  const ModelInfo& info() const;
  MemoryPlan memory_plan() const;
  /// The model's own, not a second one.
  Tokenizer tokenizer() const;

  /// The model's place: where it is, and how to move it (see ModelPlace).
  ModelPlace& place() const;
  /// Short for place().to(devices).
  MoveReport to(std::string_view devices) const { return place().to(devices); }
  /// Short for place().device().
  std::string device() const { return place().device(); }
  /// Short for place().placement().
  std::vector<Placement> placement() const { return place().placement(); }

 private:
  struct Impl;
  explicit Reranker(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tamis
