#pragma once

// What Text Embeddings Inference has besides /rerank and /embed.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dto/common.h"
#include "dto/fields.h"
#include "tamis/model.h"
#include "tamis/reranker.h"
#include "tamis/tokenizer.h"

namespace tamis::server {

/// {"inputs": [a, b] | [[a, b], ...], "raw_scores", "truncate"}. A single text has no pair.
struct PredictAsk {
  Body body;
  std::vector<RerankRequest> pairs = {};
  bool many = false;  ///< a list of pairs, so a list is answered
  bool raw = false;
  Lengths lengths = {};
  Urgency urgency = {};
};
PredictAsk read_predict(Body body);

struct LabelScore {
  std::string label;
  float logit = 0;
  double score = 0;  ///< sigmoid of the only logit, else softmax over all
};
/// By label. A head without names has "LABEL_0", ...
std::vector<LabelScore> label_scores(const RerankResult& result, const ModelInfo& info);

/// [{"score", "label"}, ...], the best first; of many, a list of them.
std::string write_predict(const PredictAsk& ask, std::span<const RerankResult> results,
                          const ModelInfo& info);

/// {"inputs":{"source_sentence", "sentences"}, "parameters":{"truncate", ...}}
struct SimilarityAsk {
  Body body;
  std::string_view source = {};
  std::vector<std::string_view> sentences = {};
  Lengths lengths = {};
  Urgency urgency = {};
};
SimilarityAsk read_similarity(Body body);
/// [number, ...] in the order of the sentences.
std::string write_similarity(std::span<const RerankResult> results);

/// {"inputs": string | [string], "add_special_tokens"}
struct TokenizeAsk {
  Body body;
  std::string_view model = {};
  std::vector<std::string_view> texts = {};
  bool special = true;
};
TokenizeAsk read_tokenize(Body body);
/// [[{"id", "text", "special", "start", "stop"}, ...], ...]; start and stop are null.
std::string write_tokens(const TokenizeAsk& ask, const Tokenizer& tokenizer);

/// {"ids": [int] | [[int]], "skip_special_tokens"}
struct DecodeAsk {
  Body body;
  std::string_view model = {};
  std::vector<std::vector<int32_t>> ids = {};
  bool skip_special = true;
};
DecodeAsk read_decode(Body body);
/// [string, ...]
std::string write_decoded(const DecodeAsk& ask, const Tokenizer& tokenizer);

/// What /info says.
struct ServerInfo {
  std::string model_id, model_name, dtype;
  size_t max_length = 0;
  size_t max_batch_tokens = 0;
  size_t max_concurrent_requests = 0;
  size_t max_tokens_in_flight = 0;
  size_t max_body_bytes = 0;
  std::vector<std::string> models;
};
std::string write_info(const ServerInfo& server, const ModelInfo& model);

}  // namespace tamis::server
