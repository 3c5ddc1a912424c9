#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "tamis/model.h"
#include "tamis/types.h"

namespace tamis {

/// A published model that FlagEmbedding knows by name, and how it is used. Source: FlagEmbedding
/// 1.4.2, inference/{embedder,reranker}/model_mapping.py.
struct KnownModel {
  std::string_view name;         ///< "bge-m3"; the last part of its path, upper and lower case
  std::string_view model_class;  ///< FlagEmbedding's: "encoder-only-m3", "decoder-only-base", ...
  ModelKind kind;
  Pooling pooling;                ///< kFromModel of a reranker
  std::string_view query_format;  ///< of instruction and query: "{}{}"

  /// Whether Tamis runs this class of models: encoders, so far.
  bool supported() const { return model_class.starts_with("encoder-only"); }
};

/// By the last part of the path, or the one before it if the last is "checkpoint-..."; null if the
/// name is not known.
const KnownModel* find_known_model(const std::filesystem::path& directory);
std::span<const KnownModel> known_models();

}  // namespace tamis
