#pragma once

// Tamis's own requests and answers: everything that the library says of a result.

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dto/common.h"
#include "dto/embed.h"
#include "dto/fields.h"
#include "tamis/embedder.h"
#include "tamis/reranker.h"

namespace tamis::server {

/// A query with its passages, or pairs by themselves.
struct PairsAsk {
  std::string_view query = {};
  std::vector<std::string_view> passages = {};  ///< of each pair, where pairs were sent
  std::vector<std::string_view> queries = {};   ///< of each pair; empty where `query` is for all
};

/// {"model", "query", "passages" | "pairs", "top_n", "max_length", "query_max_length", "long",
/// "return_texts", "priority", "timeout_ms"}
struct ScoreAsk {
  Body body;
  PairsAsk pairs = {};
  std::string_view model = {};
  size_t top_n = 0;
  bool return_texts = false;
  Lengths lengths = {};
  Urgency urgency = {};
};
ScoreAsk read_score(Body body);
std::vector<RerankRequest> requests_of(const PairsAsk& pairs);
/// {"model", "results":[{"index", "logit", "score", "tokens", "truncated", "chunks", "text"?,
/// "labels"?}, ...], "usage", "timings"}
std::string write_scores(const ScoreAsk& ask, std::span<const RerankResult> results,
                         const ModelInfo& info, const Answer& answer);

/// {"model", "texts", "dense", "sparse", "colbert", "dimension", "normalize", "max_length", "long"}
EmbedAsk read_encode(Body body);
/// {"model", "data":[{"index", "tokens", "dense"?, "sparse"?:{"ids", "weights", "tokens"},
/// "colbert"?}, ...], "usage", "timings"}
std::string write_encoded(const EmbedAsk& ask, const Embeddings& out, const Tokenizer& tokenizer,
                          const Answer& answer);

/// {"model", "query", "passages" | "pairs", "weights":[dense, sparse, colbert], "top_n",
/// "max_query_length", "max_passage_length"}
struct HybridAsk {
  Body body;
  PairsAsk pairs = {};
  std::string_view model = {};
  std::array<double, 3> weights = {1, 1, 1};
  size_t top_n = 0;
  size_t max_query_length = 0, max_passage_length = 0;
  Urgency urgency = {};
};
HybridAsk read_hybrid(Body body);
std::vector<TextPair> text_pairs_of(const PairsAsk& pairs);
/// {"model", "results":[{"index", "dense", "sparse", "colbert", "sparse_dense", "all"}, ...],
/// "usage", "timings"}, sorted by "all"; pairs in their order.
std::string write_hybrid(const HybridAsk& ask, std::span<const HybridScore> scores,
                         const Answer& answer);

}  // namespace tamis::server
