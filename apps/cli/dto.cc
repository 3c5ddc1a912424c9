#include "dto.h"

#include <cmath>
#include <cstdint>

#include <fmt/format.h>
#include "io/json.h"
#include "io/json_writer.h"
#include "io/utf8.h"

namespace tamis::cli {
namespace {

using io::JsonDocument;
using io::JsonValue;
using io::JsonWriter;

JsonDocument parse_object(std::string_view line, const std::string& where,
                          size_t& utf8_replacements) {
  std::string repaired;
  if (!io::is_utf8(line)) {
    repaired.reserve(line.size());
    utf8_replacements += io::append_repaired_utf8(repaired, line);
    line = repaired;
  }
  JsonDocument document = JsonDocument::parse(line, where);
  if (!document.root().is_object()) {
    throw Error(ErrorCode::kDataLoss, fmt::format("{}: expected a JSON object", where));
  }
  return document;
}

std::string string_member(const JsonValue& object, std::string_view key) {
  return std::string(object.at(key).string(key));
}

JsonWriter writer(std::string& out, JsonLayout layout) {
  return JsonWriter(out, layout == JsonLayout::kIndented ? 2 : 0);
}

// Microseconds are enough for any time that we report.
double rounded(double ms) { return std::round(ms * 1000) / 1000; }

void write_times(JsonWriter& json, std::string_view key, std::span<const double> times) {
  json.key(key).begin_array();
  for (const double ms : times) json.number(rounded(ms));
  json.end_array();
}

void write_info(JsonWriter& json, const ModelInfo& info) {
  const bool embedder = info.kind == ModelKind::kEmbedder;
  json.key("directory").string(info.directory.string());
  json.key("architecture").string(info.architecture);
  json.key("kind").string(embedder ? "embedder" : "cross_encoder");
  json.key("parameters").integer(info.parameters);
  json.key("hidden_size").integer(info.hidden_size);
  json.key("num_layers").integer(info.num_layers);
  json.key("num_heads").integer(info.num_heads);
  json.key("intermediate_size").integer(info.intermediate_size);
  json.key("vocab_size").integer(info.vocab_size);
  json.key("max_length").unsigned_integer(info.max_length);
  if (embedder) {
    json.key("pooling").string(info.pooling);
    json.key("normalize").boolean(info.normalize);
    json.key("sparse").boolean(info.sparse);
    json.key("colbert_dimension").integer(info.colbert_dimension);
  }
  json.key("labels").begin_array();
  for (const auto& label : info.labels) json.string(label);
  json.end_array();
}

void write_tensor(JsonWriter& json, const TensorInfo& tensor) {
  json.begin_object();
  json.key("name").string(tensor.name).key("dtype").string(tensor.dtype);
  json.key("shape").begin_array();
  for (const int64_t size : tensor.shape) json.integer(size);
  json.end_array();
  json.key("bytes").unsigned_integer(tensor.bytes).key("file").string(tensor.file);
  json.key("used").boolean(tensor.used).end_object();
}

void write_plan(JsonWriter& json, const MemoryPlan& plan) {
  json.begin_object();
  json.key("device").string(plan.device);
  json.key("mapped_bytes").unsigned_integer(plan.mapped_bytes);
  json.key("weight_bytes").unsigned_integer(plan.weight_bytes);
  json.key("workspace_bytes").unsigned_integer(plan.workspace_bytes);
  json.key("batch_tokens").unsigned_integer(plan.batch_tokens);
  json.key("free_bytes").unsigned_integer(plan.free_bytes);
  json.key("total_bytes").unsigned_integer(plan.total_bytes).end_object();
}

RerankLine rerank_line(const JsonValue& root, const std::string& where) {
  RerankLine out;
  out.query = string_member(root, "query");
  for (const JsonValue& passage : root.at("passages").elements("passages")) {
    out.passages.emplace_back(passage.string(fmt::format("passages[{}]", out.passages.size())));
  }
  if (out.passages.empty()) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{}: passages: expected at least one, got an empty list", where));
  }
  return out;
}

}  // namespace

RerankLine parse_rerank_line(std::string_view line, const std::string& where,
                             size_t& utf8_replacements) {
  const JsonDocument document = parse_object(line, where, utf8_replacements);
  return rerank_line(document.root(), where);
}

QuantizeRequest parse_quantize_line(std::string_view line, const std::string& where,
                                    size_t& utf8_replacements) {
  const JsonDocument document = parse_object(line, where, utf8_replacements);
  RerankLine plain = rerank_line(document.root(), where);
  QuantizeRequest out{std::move(plain.query), std::move(plain.passages), {}};
  if (const auto relevance = document.root().find("relevance")) {
    for (const JsonValue& value : relevance->elements("relevance")) {
      out.relevance.push_back(value.number(fmt::format("relevance[{}]", out.relevance.size())));
    }
    if (out.relevance.size() != out.passages.size()) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("{}: relevance: expected {} numbers, one for each passage, got {}",
                              where, out.passages.size(), out.relevance.size()));
    }
  }
  return out;
}

TextLine parse_text_line(std::string_view line, const std::string& where, bool pairs_allowed,
                         size_t& utf8_replacements) {
  const JsonDocument document = parse_object(line, where, utf8_replacements);
  const JsonValue root = document.root();
  if (!pairs_allowed || root.find("text") || !root.find("query")) {
    return {string_member(root, "text"), std::nullopt};
  }
  return {string_member(root, "query"), string_member(root, "passage")};
}

Passage parse_passage_line(std::string_view line, const std::string& where, size_t number,
                           size_t& utf8_replacements) {
  const JsonDocument document = parse_object(line, where, utf8_replacements);
  const JsonValue root = document.root();
  Passage out{std::to_string(number), string_member(root, "text")};
  if (const auto title = root.find("title"); title && title->is_string()) {
    const std::string_view text = title->string("title");
    if (!text.empty()) out.text = fmt::format("{} {}", text, out.text);
  }
  if (const auto id = root.find("id")) {
    out.id = id->kind() == JsonValue::Kind::kInteger ? std::to_string(id->integer("id"))
                                                     : std::string(id->string("id"));
  }
  return out;
}

void write_hits(std::string& out, std::span<const SearchHit> hits, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object().key("hits").begin_array();
  for (size_t i = 0; i < hits.size(); ++i) {
    json.begin_object().key("rank").unsigned_integer(i + 1).key("id").string(hits[i].id);
    json.key("score").number(hits[i].score).key("text").string(hits[i].text).end_object();
  }
  json.end_array().end_object();
}

void write_results(std::string& out, std::span<const RerankResult> results, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object().key("results").begin_array();
  for (const RerankResult& result : results) {
    json.begin_object().key("index").unsigned_integer(result.index);
    if (result.logits.empty()) {
      json.key("logit").number(result.logit).key("score").number(result.score);
    } else {
      json.key("logits").numbers(result.logits);
    }
    json.key("tokens").unsigned_integer(result.tokens);
    json.key("truncated").boolean(result.truncated).end_object();
  }
  json.end_array().end_object();
}

void write_embedding(std::string& out, const EmbeddedText& text, const EmbedOptions& asked,
                     JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object();
  if (asked.dense) json.key("embedding").numbers(text.dense);
  if (asked.sparse) {
    json.key("sparse").begin_object();
    for (size_t i = 0; i < text.sparse.ids.size(); ++i) {
      json.key(std::to_string(text.sparse.ids[i])).number(text.sparse.weights[i]);
    }
    json.end_object();
  }
  if (asked.colbert) {
    json.key("colbert").begin_array();
    const auto all = std::span(text.colbert);
    for (size_t at = 0; at < all.size(); at += text.colbert_dimension) {
      json.numbers(all.subspan(at, text.colbert_dimension));
    }
    json.end_array();
  }
  json.end_object();
}

void write_tokens(std::string& out, const TokenizedInput& input,
                  std::span<const std::string_view> pieces, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object().key("ids").integers(input.ids);
  if (!pieces.empty()) {
    json.key("tokens").begin_array();
    for (const std::string_view piece : pieces) json.string(piece);
    json.end_array();
  }
  json.end_object();
}

void write_error(std::string& out, const Error& error, size_t line, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object().key("error").begin_object();
  json.key("code").string(info(error.code()).name).key("message").string(error.what());
  json.key("line").unsigned_integer(line).end_object().end_object();
}

void write_description(std::string& out, const ModelDescription& model, std::string_view dtype,
                       std::span<const std::string> isas, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object();
  write_info(json, model.info);
  json.key("dtype").string(dtype);
  json.key("memory");
  write_plan(json, model.plan);
  json.key("plans").begin_array();
  for (const MemoryPlan& plan : model.plans) write_plan(json, plan);
  json.end_array();
  json.key("isas").begin_array();
  for (const auto& isa : isas) json.string(isa);
  json.end_array();
  json.key("tensors").begin_array();
  for (const auto& tensor : model.tensors) write_tensor(json, tensor);
  json.end_array().end_object();
}

void write_timings(std::string& out, const Timings& timings) {
  const RunStats& stats = timings.stats;
  JsonWriter json(out);
  json.begin_object();
  json.key("load_ms").number(rounded(timings.load_ms));
  json.key("first_result_ms").number(rounded(timings.first_result_ms));
  json.key("tokenize_ms").number(rounded(stats.tokenize_ms));
  json.key("inference_ms").number(rounded(stats.inference_ms));
  json.key("tokens").unsigned_integer(stats.tokens);
  json.key(timings.sequences).unsigned_integer(stats.sequences);
  const double seconds = stats.inference_ms / 1000;
  json.key("tokens_per_s");
  json.number(seconds > 0 ? std::round(static_cast<double>(stats.tokens) / seconds) : 0.0);
  if (!timings.total_ms_all.empty()) {
    write_times(json, "inference_ms_all", timings.inference_ms_all);
    write_times(json, "total_ms_all", timings.total_ms_all);
    write_times(json, "cpu_ms_all", timings.cpu_ms_all);
  }
  json.end_object();
}

}  // namespace tamis::cli
