#include "dto/rerank.h"

#include <utility>

#include <fmt/format.h>

namespace tamis::server {
namespace {

using io::JsonValue;
using io::JsonWriter;

constexpr std::string_view kDocuments = "an array of strings or of objects with a text";

/// A document of several fields, as `rank_fields` chose them: one alone is the text itself, more
/// are a line each with their names.
std::string compose(const Fields& document, std::span<const std::string_view> rank_fields) {
  std::string out;
  for (const std::string_view field : rank_fields) {
    if (!document.has(field)) continue;
    if (!out.empty()) out += '\n';
    out += fmt::format("{}: {}", field, document.text(field));
  }
  if (out.empty()) {
    refuse(document.path(rank_fields.front()), "a string, as rank_fields says", "nothing");
  }
  return out;
}

void add_document(const JsonValue& document, std::span<const std::string_view> rank_fields,
                  RerankAsk& ask) {
  std::string where = element("documents", ask.documents.size());
  if (document.is_string()) {
    ask.documents.push_back(document.string(where));
    return;
  }
  if (!document.is_object()) refuse(where, "a string or an object", document);
  const Fields fields(document, std::move(where));
  if (rank_fields.size() > 1) {
    ask.documents.push_back(ask.composed.emplace_back(compose(fields, rank_fields)));
  } else {
    ask.documents.push_back(fields.text(rank_fields.empty() ? "text" : rank_fields.front()));
  }
}

void read_documents(RerankAsk& ask) {
  const Fields& fields = *ask.body;
  std::vector<std::string_view> rank_fields;
  if (fields.has("rank_fields")) rank_fields = fields.texts("rank_fields");
  ask.raw_documents = fields.list("documents", kDocuments);
  ask.documents.reserve(ask.raw_documents.size());
  for (const JsonValue& document : ask.raw_documents) add_document(document, rank_fields, ask);
}

bool read_raw(const Fields& fields) {
  return fields.flag_or("raw_scores", false) || fields.flag_or("raw", false) ||
         !fields.flag_or("use_activation", true);
}

bool is_jinas(const Fields& fields) {
  return fields.text_or("model", "").starts_with("jina") || fields.has("max_doc_length") ||
         fields.has("return_embeddings");
}

/// What all dialects call by the same name.
RerankAsk begin(Body body, PriorityOrder order) {
  RerankAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  ask.top_n = ask.body->count("top_n");
  ask.raw = read_raw(*ask.body);
  ask.lengths = read_lengths(*ask.body);
  ask.urgency = read_urgency(*ask.body, order);
  return ask;
}

void write_score(JsonWriter& json, std::string_view key, const RerankResult& result, bool raw) {
  json.key(key);
  if (raw) {
    json.number(result.logit);
  } else {
    json.number(result.score);
  }
}

/// A document as it came, so that Cohere's clients find their fields again.
void write_document(JsonWriter& json, const RerankAsk& ask, size_t index) {
  json.key("document");
  if (ask.voyage) {
    json.string(ask.documents[index]);
    return;
  }
  json.begin_object();
  const JsonValue& came = ask.raw_documents[index];
  if (came.is_string()) {
    json.key("text").string(ask.documents[index]);
  } else {
    for (const auto& [key, value] : came.members("document")) {
      if (value.is_string()) json.key(key).string(value.string(key));
    }
  }
  json.end_object();
}

void write_results(JsonWriter& json, std::string_view key, const RerankAsk& ask, Ranked results) {
  json.key(key).begin_array();
  for (const RerankResult& result : results) {
    json.begin_object().key("index").unsigned_integer(result.index);
    write_score(json, "relevance_score", result, ask.raw);
    if (ask.return_documents) write_document(json, ask, result.index);
    json.end_object();
  }
  json.end_array();
}

}  // namespace

RerankAsk read_tei_rerank(Body body) {
  RerankAsk ask = begin(std::move(body), PriorityOrder::kHigherFirst);
  ask.query = ask.body->text("query");
  ask.documents = ask.body->texts("texts");
  ask.return_documents = ask.body->flag_or("return_text", false);
  ask.lengths = read_tei_lengths(*ask.body);
  return ask;
}

RerankAsk read_plain_rerank(Body body) {
  RerankAsk ask = begin(std::move(body), PriorityOrder::kLowerFirst);
  ask.query = ask.body->text("query");
  read_documents(ask);
  ask.return_documents = ask.body->flag_or("return_documents", false);
  return ask;
}

RerankAsk read_jina_rerank(Body body) {
  RerankAsk ask = begin(std::move(body), PriorityOrder::kLowerFirst);
  ask.query = ask.body->text("query");
  read_documents(ask);
  ask.voyage = ask.body->has("top_k") || ask.body->has("truncation");
  if (ask.top_n == 0) ask.top_n = ask.body->count("top_k");
  if (!ask.body->flag_or("truncation", true)) ask.lengths.long_texts = LongText::kRefuse;
  ask.return_documents = ask.body->flag_or("return_documents", is_jinas(*ask.body));
  return ask;
}

RerankAsk read_ranking(Body body) {
  RerankAsk ask = begin(std::move(body), PriorityOrder::kHigherFirst);
  ask.query = ask.body->object("query").text("text");
  for (const JsonValue& passage : ask.body->list("passages", "an array of {\"text\": string}")) {
    const Fields fields(passage, element("passages", ask.documents.size()));
    ask.documents.push_back(fields.text("text"));
  }
  if (ask.body->choice("truncate", {"NONE", "END"}, "END") == "NONE") {
    ask.lengths.long_texts = LongText::kRefuse;
  }
  return ask;
}

std::string write_tei_rerank(const RerankAsk& ask, Ranked results) {
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  for (const RerankResult& result : results) {
    json.begin_object().key("index").unsigned_integer(result.index);
    if (ask.return_documents) json.key("text").string(ask.documents[result.index]);
    write_score(json, "score", result, ask.raw);
    json.end_object();
  }
  json.end_array();
  return out;
}

std::string write_plain_rerank(const RerankAsk& ask, Ranked results, const Answer& answer) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("object").string("rerank").key("id").string("rerank-" + answer.id);
  json.key("model").string(answer.model).key("created").integer(unix_now());
  write_usage(json, answer.stats);
  json.key("results").begin_array();
  for (const RerankResult& result : results) {
    json.begin_object().key("index").unsigned_integer(result.index);
    write_score(json, "relevance_score", result, ask.raw);
    json.key("document");
    if (ask.return_documents) {
      json.string(ask.documents[result.index]);
    } else {
      json.null();
    }
    json.end_object();
  }
  json.end_array().end_object();
  return out;
}

std::string write_jina_rerank(const RerankAsk& ask, Ranked results, const Answer& answer,
                              std::string_view api_version) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("id").string("rerank-" + answer.id);
  json.key("model").string(answer.model).key("object").string("list");
  write_usage(json, answer.stats);
  write_results(json, "results", ask, results);
  if (ask.voyage) write_results(json, "data", ask, results);
  // Cohere counts a query with up to 100 documents as one search.
  const size_t searches = (ask.documents.size() + 99) / 100;
  write_meta(json, api_version, "search_units", searches, answer.stats);
  json.end_object();
  return out;
}

std::string write_ranking(Ranked results, const Answer& answer) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("rankings").begin_array();
  for (const RerankResult& result : results) {
    json.begin_object().key("index").unsigned_integer(result.index);
    json.key("logit").number(result.logit).end_object();
  }
  json.end_array();
  write_usage(json, answer.stats);
  json.end_object();
  return out;
}

}  // namespace tamis::server
