#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tamis/model.h"
#include "tamis/place.h"
#include "tamis/types.h"

namespace tamis {

struct EmbedOptions {
  /// Tokens of a text, special ones included; 0 = sentence_bert_config.json's max_seq_length, else
  /// 512. More than the model allows is clamped.
  size_t max_length = 0;
  size_t batch_tokens = 0;  ///< as RerankOptions::batch_tokens
  Progress progress;
};

/// Vectors of n texts, one row each.
struct Embeddings {
  size_t count = 0;
  size_t dimension = 0;
  std::vector<float> values;   ///< [count, dimension], row-major
  std::vector<size_t> tokens;  ///< of each text
  std::span<const float> row(size_t i) const {
    return std::span(values).subspan(i * dimension, dimension);
  }
};

/// Turns texts into vectors: the encoder, pooling, and L2 normalisation if the model directory has
/// a Normalize module. Thread rule and errors: as Reranker.
class Embedder {
 public:
  /// Errors: as Reranker::load; invalid_argument if the model is a cross-encoder.
  static Embedder load(const std::filesystem::path& directory, const LoadOptions& options = {});
  Embedder(Embedder&&) noexcept;
  Embedder& operator=(Embedder&&) noexcept;
  ~Embedder();

  Embeddings embed(std::span<const std::string_view> texts, const EmbedOptions& options = {},
                   RunStats* stats = nullptr) const;

  size_t effective_max_length(size_t max_length) const;
  const ModelInfo& info() const;
  MemoryPlan memory_plan() const;

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
  explicit Embedder(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tamis
