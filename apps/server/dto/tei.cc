#include "dto/tei.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace tamis::server {
namespace {

using io::JsonValue;
using io::JsonWriter;

constexpr std::string_view kPair = "two strings, a query and a passage";

RerankRequest pair_of(const std::vector<std::string_view>& texts, std::string where) {
  if (texts.size() != 2) {
    refuse(std::move(where), kPair, fmt::format("an array of {}", texts.size()));
  }
  return {texts[0], {texts[1]}};
}

void read_pairs(PredictAsk& ask) {
  const JsonValue value = ask.body->at("inputs", kPair);
  if (value.is_string()) refuse("inputs", "two strings, as this model scores pairs", "a string");
  const std::vector<JsonValue> values = ask.body->list("inputs", kPair);
  ask.many = values.front().is_array();
  if (!ask.many) {
    ask.pairs.push_back(pair_of(texts_of(value, "inputs"), "inputs"));
    return;
  }
  for (const JsonValue& one : values) {
    const std::string where = element("inputs", ask.pairs.size());
    if (!one.is_array()) refuse(where, kPair, one);
    ask.pairs.push_back(pair_of(texts_of(one, where), where));
  }
}

std::string label_of(const ModelInfo& info, size_t i) {
  return i < info.labels.size() ? info.labels[i] : fmt::format("LABEL_{}", i);
}

void softmax(std::vector<LabelScore>& scores) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const LabelScore& one : scores) most = std::max(most, static_cast<double>(one.logit));
  for (LabelScore& one : scores) sum += one.score = std::exp(static_cast<double>(one.logit) - most);
  for (LabelScore& one : scores) one.score /= sum;
}

void write_labels(JsonWriter& json, const RerankResult& result, const ModelInfo& info, bool raw) {
  std::vector<LabelScore> scores = label_scores(result, info);
  std::stable_sort(scores.begin(), scores.end(),
                   [](const auto& a, const auto& b) { return a.logit > b.logit; });
  json.begin_array();
  for (const LabelScore& one : scores) {
    json.begin_object().key("score");
    if (raw) {
      json.number(one.logit);
    } else {
      json.number(one.score);
    }
    json.key("label").string(one.label).end_object();
  }
  json.end_array();
}

/// How many ids the tokenizer puts before a text, and how many behind it.
struct Frame {
  size_t before = 0, behind = 0;
};

Frame frame_of(const Tokenizer& tokenizer) {
  const std::vector<int32_t> bare = tokenizer.encode("").ids;
  const std::vector<int32_t> some = tokenizer.encode("a").ids;
  const auto differ = std::mismatch(bare.begin(), bare.end(), some.begin(), some.end());
  const auto before = static_cast<size_t>(differ.first - bare.begin());
  return {before, bare.size() - before};
}

bool is_special(const Tokenizer& tokenizer, int32_t id) {
  constexpr std::array<std::string_view, 11> kNames = {
      "<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", ""};
  const std::string_view token = tokenizer.id_to_token(id);
  return std::find(kNames.begin(), kNames.end(), token) != kNames.end();
}

void write_sequence(JsonWriter& json, const TokenizeAsk& ask, const Tokenizer& tokenizer,
                    const Frame& frame, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.encode(text).ids;
  json.begin_array();
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool special = i < frame.before || i + frame.behind >= ids.size();
    if (special && !ask.special) continue;
    json.begin_object().key("id").integer(ids[i]).key("text").string(tokenizer.id_to_token(ids[i]));
    json.key("special").boolean(special);
    // Where a token stands in the text is not kept through the normaliser.
    json.key("start").null().key("stop").null().end_object();
  }
  json.end_array();
}

}  // namespace

PredictAsk read_predict(Body body) {
  PredictAsk ask{std::move(body)};
  read_pairs(ask);
  ask.raw = ask.body->flag_or("raw_scores", false);
  ask.lengths = read_tei_lengths(*ask.body);
  ask.urgency = read_urgency(*ask.body);
  return ask;
}

std::vector<LabelScore> label_scores(const RerankResult& result, const ModelInfo& info) {
  std::vector<LabelScore> out;
  if (result.logits.empty()) return {{label_of(info, 0), result.logit, result.score}};
  for (const float logit : result.logits) out.push_back({label_of(info, out.size()), logit, 0});
  softmax(out);
  return out;
}

std::string write_predict(const PredictAsk& ask, std::span<const RerankResult> results,
                          const ModelInfo& info) {
  std::string out;
  JsonWriter json(out);
  if (ask.many) json.begin_array();
  for (const RerankResult& result : results) write_labels(json, result, info, ask.raw);
  if (ask.many) json.end_array();
  return out;
}

SimilarityAsk read_similarity(Body body) {
  SimilarityAsk ask{std::move(body)};
  const Fields inputs = ask.body->object("inputs");
  ask.source = inputs.text("source_sentence");
  ask.sentences = inputs.texts("sentences");
  if (ask.body->has("parameters")) ask.lengths = read_tei_lengths(ask.body->object("parameters"));
  ask.urgency = read_urgency(*ask.body);
  return ask;
}

std::string write_similarity(std::span<const RerankResult> results) {
  std::vector<float> cosines(results.size());
  for (const RerankResult& result : results) cosines[result.index] = result.logit;
  std::string out;
  JsonWriter(out).numbers(cosines);
  return out;
}

TokenizeAsk read_tokenize(Body body) {
  TokenizeAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  const JsonValue value = ask.body->at("inputs", "a string or an array of strings");
  if (value.is_array()) {
    ask.texts = texts_of(value, "inputs");
  } else {
    ask.texts = {ask.body->text("inputs")};
  }
  ask.special = ask.body->flag_or("add_special_tokens", true);
  return ask;
}

std::string write_tokens(const TokenizeAsk& ask, const Tokenizer& tokenizer) {
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  const Frame frame = frame_of(tokenizer);
  for (const std::string_view text : ask.texts) write_sequence(json, ask, tokenizer, frame, text);
  json.end_array();
  return out;
}

DecodeAsk read_decode(Body body) {
  DecodeAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  ask.ids = read_ids(*ask.body, "ids");
  ask.skip_special = ask.body->flag_or("skip_special_tokens", true);
  return ask;
}

std::string write_decoded(const DecodeAsk& ask, const Tokenizer& tokenizer) {
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  for (std::vector<int32_t> ids : ask.ids) {
    if (ask.skip_special) std::erase_if(ids, [&](int32_t id) { return is_special(tokenizer, id); });
    json.string(tokenizer.decode(ids));
  }
  json.end_array();
  return out;
}

namespace {

std::string_view torch_name(std::string_view dtype) {
  if (dtype == "f32") return "float32";
  if (dtype == "f16") return "float16";
  return dtype == "bf16" ? "bfloat16" : dtype;
}

void write_model_type(JsonWriter& json, const ModelInfo& model) {
  json.key("model_type").begin_object();
  if (model.kind == ModelKind::kEmbedder) {
    json.key("embedding").begin_object().key("pooling").string(model.pooling);
    json.end_object().end_object();
    return;
  }
  const size_t labels = std::max<size_t>(model.labels.size(), 1);
  json.key(labels == 1 ? "reranker" : "classifier").begin_object();
  json.key("id2label").begin_object();
  for (size_t i = 0; i < labels; ++i) json.key(std::to_string(i)).string(label_of(model, i));
  json.end_object().key("label2id").begin_object();
  for (size_t i = 0; i < labels; ++i) json.key(label_of(model, i)).unsigned_integer(i);
  json.end_object().end_object().end_object();
}

}  // namespace

std::string write_info(const ServerInfo& server, const ModelInfo& model) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("model_id").string(server.model_id).key("model_sha").null();
  json.key("served_model_name").string(server.model_name);
  json.key("model_dtype").string(torch_name(server.dtype));
  write_model_type(json, model);
  json.key("max_concurrent_requests").unsigned_integer(server.max_concurrent_requests);
  json.key("max_input_length").unsigned_integer(server.max_length);
  json.key("max_batch_tokens").unsigned_integer(server.max_batch_tokens);
  json.key("max_batch_requests").null();
  // There is no such limit, and clients split their lists by this number.
  json.key("max_client_batch_size").integer(Fields::kMaxCount);
  json.key("auto_truncate").boolean(true).key("tokenization_workers").integer(1);
  json.key("version").string(version()).key("sha").null().key("docker_label").null();
  json.key("max_body_bytes").unsigned_integer(server.max_body_bytes);
  json.key("max_tokens_in_flight").unsigned_integer(server.max_tokens_in_flight);
  json.key("models").begin_array();
  for (const std::string& id : server.models) json.string(id);
  json.end_array().end_object();
  return out;
}

}  // namespace tamis::server
