#pragma once

// Requests to rerank, and their answers, in every dialect.

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dto/common.h"
#include "dto/fields.h"
#include "tamis/reranker.h"

namespace tamis::server {

/// What a request to rerank comes to, whatever its dialect.
struct RerankAsk {
  Body body;  ///< `query` and `documents` are views of it
  std::string_view model = {};
  std::string_view query = {};
  std::vector<std::string_view> documents = {};
  std::deque<std::string> composed = {};  ///< documents made of several fields
  size_t top_n = 0;                       ///< 0 = all
  bool raw = false;                       ///< logits instead of their sigmoid
  bool return_documents = false;
  Lengths lengths = {};
  Urgency urgency = {};
  // What tells one client of /v1/rerank from another.
  bool voyage = false;                            ///< it sent `top_k` or `truncation`
  std::vector<io::JsonValue> raw_documents = {};  ///< as they came
};

/// {"query", "texts", "truncate", "truncation_direction", "raw_scores", "return_text"}
RerankAsk read_tei_rerank(Body body);
/// llama.cpp's and infinity's: {"query", "documents", "model", "top_n", "return_documents",
/// "raw_scores"}
RerankAsk read_plain_rerank(Body body);
/// Jina's, Cohere v1's, Voyage's, vLLM's and Xinference's of /v1/rerank, and Cohere v2's.
/// Documents are returned where that is asked for, and where nothing is said but the request is
/// plainly Jina's (its model, max_doc_length or return_embeddings), which returns them by default;
/// everybody else has them already, and Cohere and Voyage do not send them.
RerankAsk read_jina_rerank(Body body);
/// {"query":{"text"}, "passages":[{"text"}, ...], "truncate": "NONE" | "END"}
RerankAsk read_ranking(Body body);

using Ranked = std::span<const RerankResult>;

/// [{"index", "text"?, "score"}, ...]
std::string write_tei_rerank(const RerankAsk& ask, Ranked results);
/// One object for clients of llama.cpp and of infinity: documents are strings, or null.
std::string write_plain_rerank(const RerankAsk& ask, Ranked results, const Answer& answer);
/// One object for all clients of /v1/rerank and /v2/rerank: `api_version` is "1" or "2".
std::string write_jina_rerank(const RerankAsk& ask, Ranked results, const Answer& answer,
                              std::string_view api_version);
/// {"rankings":[{"index", "logit"}, ...], "usage"}
std::string write_ranking(Ranked results, const Answer& answer);

}  // namespace tamis::server
