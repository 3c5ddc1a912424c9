#pragma once

// The models of an evaluation: a search by vectors, and a cross-encoder that orders what was found.

#include <cstddef>
#include <optional>
#include <string>

#include "data_sets.h"
#include "progress.h"
#include "tamis/embedder.h"
#include "tamis/evaluate.h"
#include "tamis/reranker.h"

namespace tamis::cli {

struct EvalModelOptions {
  std::string embedder, reranker;  ///< directories; empty: none
  std::string query_instruction;   ///< before each query of the search
  size_t search_top_k = 100, rerank_top_k = 100;
  size_t query_max_length = 512, passage_max_length = 512, reranker_max_length = 512;
  bool ignore_identical_ids = false;
};

/// Loads each model when it is first needed, and keeps it for the data sets that follow.
class EvalModels {
 public:
  EvalModels(EvalModelOptions options, LoadOptions load);

  /// Every query against every passage, by inner product.
  SearchRun search(const JudgedData& data, Progress& progress);
  /// The best of each query in a new order. Errors: invalid_argument (a document that is not
  /// there).
  SearchRun rerank(const JudgedData& data, const SearchRun& run, Progress& progress);

 private:
  EvalModelOptions options_;
  LoadOptions load_;
  std::optional<Embedder> embedder_;
  std::optional<Reranker> reranker_;
};

}  // namespace tamis::cli
