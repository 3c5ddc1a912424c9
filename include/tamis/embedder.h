#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tamis/model.h"
#include "tamis/place.h"
#include "tamis/similarity.h"
#include "tamis/types.h"

namespace tamis {

class Tokenizer;

struct EmbedOptions {
  /// Tokens of a text, special ones included; 0 = sentence_bert_config.json's max_seq_length, else
  /// 512. More than the model allows is clamped.
  size_t max_length = 0;
  size_t batch_tokens = 0;     ///< as RerankOptions::batch_tokens
  bool dense = true;           ///< one vector of each text
  bool sparse = false;         ///< BGE-M3's lexical weights
  bool colbert = false;        ///< BGE-M3's vector of each token but the first
  bool hidden_states = false;  ///< the last layer's output for every token; by itself alone
  size_t dimension = 0;  ///< numbers that vectors are cut to, before they are normalised; 0 = all
  /// To length 1; unset = as the model directory says, and of hidden states never.
  std::optional<bool> normalize = {};
  Progress progress = {};
  LongText long_texts = LongText::kTruncate;  ///< kChunk is not for embedders
  bool keep_end = false;                      ///< a text loses its beginning instead of its end
  CallControl call = {};
};

/// What became of n texts; what was not asked for is empty.
struct Embeddings {
  size_t count = 0;
  size_t dimension = 0;
  std::vector<float> values;         ///< [count, dimension], row-major
  std::vector<size_t> tokens;        ///< of each text
  std::vector<SparseVector> sparse;  ///< [count]
  size_t colbert_dimension = 0;
  std::vector<float> colbert_values;    ///< the vectors of all texts, [rows, colbert_dimension];
                                        ///< or their hidden states
  std::vector<size_t> colbert_offsets;  ///< [count + 1], in rows
  std::span<const float> row(size_t i) const {
    return std::span(values).subspan(i * dimension, dimension);
  }
  TokenVectorsView colbert(size_t i) const {
    const size_t first = colbert_offsets[i] * colbert_dimension;
    const size_t rows = colbert_offsets[i + 1] - colbert_offsets[i];
    return {std::span(colbert_values).subspan(first, rows * colbert_dimension), colbert_dimension};
  }
};

struct TextPair {
  std::string_view query;
  std::string_view passage;
};

struct HybridOptions {
  size_t max_query_length = 0;    ///< as EmbedOptions::max_length
  size_t max_passage_length = 0;  ///< as EmbedOptions::max_length
  double dense_weight = 1, sparse_weight = 1, colbert_weight = 1;
  EmbedOptions embed = {};  ///< batch_tokens, dimension, normalize and progress of it
};

/// BGE-M3's scores of a pair.
struct HybridScore {
  double dense = 0;         ///< dot product of the two vectors
  double sparse = 0;        ///< lexical_score
  double colbert = 0;       ///< colbert_score
  double sparse_dense = 0;  ///< weighted mean of two
  double all = 0;           ///< weighted mean of the three
};

/// Turns texts into vectors: the encoder, pooling, and L2 normalisation if the model directory has
/// a Normalize module; with BGE-M3's heads also lexical weights and vectors of tokens, all from one
/// pass. Thread rule and errors: as Reranker.
class Embedder {
 public:
  /// Errors: as Reranker::load; invalid_argument if the model is a cross-encoder.
  static Embedder load(const std::filesystem::path& directory, const LoadOptions& options = {});
  Embedder(Embedder&&) noexcept;
  Embedder& operator=(Embedder&&) noexcept;
  ~Embedder();

  /// Errors: invalid_argument (nothing is asked for; a head that the model does not have; more
  /// dimensions than there are), data_loss (a NaN or Inf came out of a layer: named).
  Embeddings embed(std::span<const std::string_view> texts, const EmbedOptions& options = {},
                   RunStats* stats = nullptr) const;

  /// The same of texts that are ids already, special tokens included, as Tokenizer::encode gives
  /// them. Errors: as embed; invalid_argument (no ids, an id that the model does not have, or more
  /// than max_length).
  Embeddings embed_ids(std::span<const std::vector<int32_t>> texts,
                       const EmbedOptions& options = {}, RunStats* stats = nullptr) const;

  /// Scores pairs in BGE-M3's three ways; each distinct text goes through the model once, and
  /// nothing is computed but the pairs asked for. Memory is bounded, whatever their number.
  /// Errors: as embed; invalid_argument (a weight that is negative or no number, or all are 0).
  std::vector<HybridScore> score(std::span<const TextPair> pairs, const HybridOptions& options = {},
                                 RunStats* stats = nullptr) const;

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
  friend class Reranker;
  struct Impl;
  explicit Embedder(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tamis
