#include "dto/own.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "dto/tei.h"

namespace tamis::server {
namespace {

using io::JsonValue;
using io::JsonWriter;

constexpr double kMostWeight = 1e6;
constexpr std::string_view kPair = "an array of a query and a passage";

PairsAsk read_pairs(const Fields& fields) {
  PairsAsk out;
  if (!fields.has("pairs")) {
    out.query = fields.text("query");
    out.passages = fields.texts("passages");
    return out;
  }
  for (const std::string_view other : {"query", "passages", "top_n"}) {
    if (fields.has(other)) refuse(fields.path(other), "nothing beside pairs", "one");
  }
  for (const JsonValue& pair : fields.list("pairs", "an array of pairs of strings")) {
    const std::string where = element("pairs", out.passages.size());
    if (!pair.is_array()) refuse(where, kPair, pair);
    const auto texts = texts_of(pair, where);
    if (texts.size() != 2) refuse(where, kPair, fmt::format("an array of {}", texts.size()));
    out.queries.push_back(texts[0]);
    out.passages.push_back(texts[1]);
  }
  return out;
}

std::string_view query_of(const PairsAsk& pairs, size_t i) {
  return pairs.queries.empty() ? pairs.query : pairs.queries[i];
}

void write_labels(JsonWriter& json, const RerankResult& result, const ModelInfo& info) {
  json.key("labels").begin_array();
  for (const LabelScore& label : label_scores(result, info)) {
    json.begin_object().key("label").string(label.label).key("logit").number(label.logit);
    json.key("score").number(label.score).end_object();
  }
  json.end_array();
}

void write_result(JsonWriter& json, const ScoreAsk& ask, const RerankResult& result,
                  const ModelInfo& info) {
  json.begin_object().key("index").unsigned_integer(result.index);
  json.key("logit").number(result.logit).key("score").number(result.score);
  json.key("tokens").unsigned_integer(result.tokens).key("truncated").boolean(result.truncated);
  json.key("chunks").unsigned_integer(result.chunks);
  if (ask.return_texts) json.key("text").string(ask.pairs.passages[result.index]);
  if (!result.logits.empty()) write_labels(json, result, info);
  json.end_object();
}

void write_sparse(JsonWriter& json, const SparseVector& sparse, const Tokenizer& tokenizer) {
  json.key("sparse").begin_object().key("ids").integers(sparse.ids);
  json.key("weights").numbers(sparse.weights).key("tokens").begin_array();
  for (const int32_t id : sparse.ids) json.string(tokenizer.id_to_token(id));
  json.end_array().end_object();
}

void write_rows(JsonWriter& json, const TokenVectorsView& vectors) {
  json.key("colbert").begin_array();
  for (size_t row = 0; row < vectors.count(); ++row) {
    json.numbers(vectors.values.subspan(row * vectors.dimension, vectors.dimension));
  }
  json.end_array();
}

std::array<double, 3> read_weights(const Fields& fields) {
  constexpr std::string_view kExpected = "three numbers, for dense, sparse and colbert";
  std::array<double, 3> out = {1, 1, 1};
  if (!fields.has("weights")) return out;
  const std::vector<JsonValue> values = fields.list("weights", kExpected);
  if (values.size() != out.size()) {
    refuse(fields.path("weights"), kExpected, fmt::format("{}", values.size()));
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (!values[i].is_number()) refuse(element("weights", i), "a number", values[i]);
    out[i] = values[i].number("weights");
    // Larger ones could make sums infinite, which JSON cannot say.
    if (!(out[i] >= 0 && out[i] <= kMostWeight)) {
      refuse(element("weights", i), fmt::format("a number from 0 to {}", kMostWeight),
             fmt::format("{}", out[i]));
    }
  }
  return out;
}

/// The best first; pairs, which answer different queries, as they came.
std::vector<size_t> order_of(const HybridAsk& ask, std::span<const HybridScore> scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (!ask.pairs.queries.empty()) return order;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a].all > scores[b].all; });
  if (ask.top_n > 0 && ask.top_n < order.size()) order.resize(ask.top_n);
  return order;
}

}  // namespace

ScoreAsk read_score(Body body) {
  ScoreAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  ask.pairs = read_pairs(*ask.body);
  ask.top_n = ask.body->count("top_n");
  ask.return_texts = ask.body->flag_or("return_texts", false);
  ask.lengths = read_lengths(*ask.body);
  ask.urgency = read_urgency(*ask.body);
  return ask;
}

std::vector<RerankRequest> requests_of(const PairsAsk& pairs) {
  std::vector<RerankRequest> out;
  for (size_t i = 0; i < pairs.passages.size(); ++i) {
    out.push_back({query_of(pairs, i), {pairs.passages[i]}});
  }
  return out;
}

std::vector<TextPair> text_pairs_of(const PairsAsk& pairs) {
  std::vector<TextPair> out;
  for (size_t i = 0; i < pairs.passages.size(); ++i) {
    out.push_back({query_of(pairs, i), pairs.passages[i]});
  }
  return out;
}

std::string write_scores(const ScoreAsk& ask, std::span<const RerankResult> results,
                         const ModelInfo& info, const Answer& answer) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("model").string(answer.model).key("results").begin_array();
  for (const RerankResult& result : results) write_result(json, ask, result, info);
  json.end_array();
  write_account(json, answer);
  json.end_object();
  return out;
}

EmbedAsk read_encode(Body body) {
  EmbedAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  ask.texts = ask.body->texts("texts");
  ask.dense = ask.body->flag_or("dense", true);
  ask.sparse = ask.body->flag_or("sparse", false);
  ask.colbert = ask.body->flag_or("colbert", false);
  ask.dimension = ask.body->count("dimension", 1);
  if (ask.body->has("normalize")) ask.normalize = ask.body->flag_or("normalize", true);
  ask.lengths = read_lengths(*ask.body);
  ask.urgency = read_urgency(*ask.body);
  return ask;
}

std::string write_encoded(const EmbedAsk& ask, const Embeddings& out, const Tokenizer& tokenizer,
                          const Answer& answer) {
  std::string body;
  JsonWriter json(body);
  json.begin_object().key("model").string(answer.model).key("data").begin_array();
  for (size_t i = 0; i < out.count; ++i) {
    json.begin_object().key("index").unsigned_integer(i);
    json.key("tokens").unsigned_integer(out.tokens[i]);
    if (ask.dense) json.key("dense").numbers(out.row(i));
    if (ask.sparse) write_sparse(json, out.sparse[i], tokenizer);
    if (ask.colbert) write_rows(json, out.colbert(i));
    json.end_object();
  }
  json.end_array();
  write_account(json, answer);
  json.end_object();
  return body;
}

HybridAsk read_hybrid(Body body) {
  HybridAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  ask.pairs = read_pairs(*ask.body);
  ask.weights = read_weights(*ask.body);
  ask.top_n = ask.body->count("top_n");
  ask.max_query_length = ask.body->count("max_query_length");
  ask.max_passage_length = ask.body->count("max_passage_length");
  ask.urgency = read_urgency(*ask.body);
  return ask;
}

std::string write_hybrid(const HybridAsk& ask, std::span<const HybridScore> scores,
                         const Answer& answer) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("model").string(answer.model).key("results").begin_array();
  for (const size_t i : order_of(ask, scores)) {
    const HybridScore& score = scores[i];
    json.begin_object().key("index").unsigned_integer(i).key("dense").number(score.dense);
    json.key("sparse").number(score.sparse).key("colbert").number(score.colbert);
    json.key("sparse_dense").number(score.sparse_dense).key("all").number(score.all).end_object();
  }
  json.end_array();
  write_account(json, answer);
  json.end_object();
  return out;
}

}  // namespace tamis::server
