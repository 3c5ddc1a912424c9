#include "dto/embed.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "dto/base64.h"

namespace tamis::server {
namespace {

using io::JsonValue;
using io::JsonWriter;

constexpr std::string_view kInputs = "a string, an array of strings, or of token ids";

/// string | [string] | [int] | [[int]]
void read_inputs(std::string_view key, EmbedAsk& ask) {
  const JsonValue value = ask.body->at(key, kInputs);
  if (value.is_string()) {
    ask.texts = {value.string(key)};
    return;
  }
  const std::vector<JsonValue> values = ask.body->list(key, kInputs);
  if (values.front().is_array() || values.front().kind() == JsonValue::Kind::kInteger) {
    ask.ids = read_ids(*ask.body, key);
  } else {
    ask.texts = texts_of(value, key);
  }
}

EmbedAsk begin(Body body) {
  EmbedAsk ask{std::move(body)};
  ask.model = ask.body->text_or("model", "");
  ask.lengths = read_lengths(*ask.body);
  ask.urgency = read_urgency(*ask.body);
  return ask;
}

/// Calls `write(text's index)` for each text, in an array.
template <class Write>
std::string array_of(const Embeddings& out, const Write& write) {
  std::string body;
  JsonWriter json(body);
  json.begin_array();
  for (size_t i = 0; i < out.count; ++i) write(json, i);
  json.end_array();
  return body;
}

int quantized(float value) {
  return static_cast<int>(std::lround(std::clamp(value, -1.0F, 1.0F) * 127));
}

std::vector<int32_t> scaled(std::span<const float> row, int offset) {
  std::vector<int32_t> out(row.size());
  std::transform(row.begin(), row.end(), out.begin(),
                 [&](float value) { return quantized(value) + offset; });
  return out;
}

std::vector<int32_t> signs(std::span<const float> row, int offset) {
  std::vector<int32_t> out((row.size() + 7) / 8, 0);
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] > 0) out[i / 8] |= 128 >> (i % 8);
  }
  for (int32_t& byte : out) byte += offset;
  return out;
}

void write_as(JsonWriter& json, std::string_view type, std::span<const float> row) {
  if (type == "float") {
    json.numbers(row);
  } else if (type == "base64") {
    json.string(base64(row));
  } else if (type == "int8" || type == "uint8") {
    json.integers(scaled(row, type == "uint8" ? 128 : 0));
  } else {
    json.integers(signs(row, type == "binary" ? -128 : 0));
  }
}

void write_rows(JsonWriter& json, std::string_view type, const Embeddings& out) {
  json.begin_array();
  for (size_t i = 0; i < out.count; ++i) write_as(json, type, out.row(i));
  json.end_array();
}

constexpr std::array<std::string_view, 6> kTypes = {"float",  "int8",    "uint8",
                                                    "binary", "ubinary", "base64"};

std::vector<std::string_view> read_types(const Fields& fields) {
  std::vector<std::string_view> out;
  if (!fields.has("embedding_types")) return out;
  for (const std::string_view type : fields.texts("embedding_types")) {
    const auto* known = std::find(kTypes.begin(), kTypes.end(), type);
    if (known == kTypes.end()) {
      refuse(element("embedding_types", out.size()),
             "one of float, int8, uint8, binary, ubinary, base64", type.substr(0, 40));
    }
    if (std::find(out.begin(), out.end(), *known) == out.end()) out.push_back(*known);
  }
  return out;
}

}  // namespace

EmbedAsk read_openai_embed(Body body) {
  EmbedAsk ask = begin(std::move(body));
  read_inputs("input", ask);
  ask.dimension = ask.body->count("dimensions");  // infinity's client sends 0 for all of them
  ask.base64 = ask.body->choice("encoding_format", {"float", "base64"}, "float") == "base64";
  return ask;
}

std::string write_openai_embed(const EmbedAsk& ask, const Embeddings& out, const Answer& answer) {
  std::string body;
  JsonWriter json(body);
  json.begin_object().key("object").string("list").key("data").begin_array();
  for (size_t i = 0; i < out.count; ++i) {
    json.begin_object().key("object").string("embedding").key("index").unsigned_integer(i);
    json.key("embedding");
    write_as(json, ask.base64 ? "base64" : "float", out.row(i));
    json.end_object();
  }
  json.end_array().key("model").string(answer.model);
  write_usage(json, answer.stats);
  json.end_object();
  return body;
}

EmbedAsk read_tei_embed(Body body, bool normalize) {
  EmbedAsk ask = begin(std::move(body));
  read_inputs("inputs", ask);
  ask.lengths = read_tei_lengths(*ask.body);
  ask.normalize = ask.body->flag_or("normalize", normalize);
  ask.dimension = ask.body->count("dimensions", 1);
  return ask;
}

std::string write_tei_embed(const Embeddings& out) {
  return array_of(out, [&](JsonWriter& json, size_t i) { json.numbers(out.row(i)); });
}

std::string write_tei_sparse(const Embeddings& out) {
  return array_of(out, [&](JsonWriter& json, size_t i) {
    const SparseVector& weights = out.sparse[i];
    json.begin_array();
    for (size_t j = 0; j < weights.ids.size(); ++j) {
      json.begin_object().key("index").integer(weights.ids[j]);
      json.key("value").number(weights.weights[j]).end_object();
    }
    json.end_array();
  });
}

std::string write_tei_tokens(const Embeddings& out) {
  return array_of(out, [&](JsonWriter& json, size_t i) {
    const TokenVectorsView vectors = out.colbert(i);
    json.begin_array();
    for (size_t row = 0; row < vectors.count(); ++row) {
      json.numbers(vectors.values.subspan(row * vectors.dimension, vectors.dimension));
    }
    json.end_array();
  });
}

EmbedAsk read_cohere_embed(Body body) {
  EmbedAsk ask = begin(std::move(body));
  if (ask.body->has("images") || ask.body->has("inputs")) {
    refuse(ask.body->has("images") ? "images" : "inputs", "texts, as models here read nothing else",
           "something else");
  }
  ask.texts = ask.body->texts("texts");
  // What it says is for models with several kinds of vectors; these have one.
  (void)ask.body->text_or("input_type", "");
  ask.types = read_types(*ask.body);
  const std::string_view truncate = ask.body->choice("truncate", {"NONE", "START", "END"}, "END");
  if (truncate == "NONE") ask.lengths.long_texts = LongText::kRefuse;
  ask.lengths.keep_end = truncate == "START";
  ask.dimension = ask.body->count("output_dimension", 1);
  if (const size_t tokens = ask.body->count("max_tokens"); tokens > 0) {
    ask.lengths.max_length = tokens;
  }
  ask.normalize = true;  // as Cohere's are, and what the integer types need
  return ask;
}

std::string write_cohere_embed(const EmbedAsk& ask, const Embeddings& out, const Answer& answer,
                               std::string_view api_version) {
  const bool bare = ask.types.empty() && api_version == "1";
  std::string body;
  JsonWriter json(body);
  json.begin_object().key("id").string("embed-" + answer.id).key("model").string(answer.model);
  json.key("response_type").string(bare ? "embeddings_floats" : "embeddings_by_type");
  json.key("embeddings");
  if (bare) {
    write_rows(json, "float", out);
  } else {
    json.begin_object();
    for (const std::string_view type : ask.types) {
      json.key(type);
      write_rows(json, type, out);
    }
    if (ask.types.empty()) {
      json.key("float");
      write_rows(json, "float", out);
    }
    json.end_object();
  }
  json.key("texts").begin_array();
  for (const std::string_view text : ask.texts) json.string(text);
  json.end_array();
  write_meta(json, api_version, "input_tokens", answer.stats.tokens, answer.stats);
  json.end_object();
  return body;
}

}  // namespace tamis::server
