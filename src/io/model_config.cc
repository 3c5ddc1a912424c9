#include "io/model_config.h"

#include <fmt/ranges.h>

#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "base/fail.h"
#include "io/file_map.h"
#include "io/foreign.h"
#include "io/json.h"

namespace tamis::io {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMaxSize = int64_t{1} << 30;

std::string describe(const std::optional<JsonValue>& value) {
  if (!value) return "nothing";
  switch (value->kind()) {
    case JsonValue::Kind::kNull:
      return "null";
    case JsonValue::Kind::kBool:
      return value->boolean("") ? "true" : "false";
    case JsonValue::Kind::kInteger:
    case JsonValue::Kind::kDouble:
      return fmt::format("{}", value->number(""));
    case JsonValue::Kind::kString:
      return fmt::format("\"{:.60}\"", value->string(""));
    case JsonValue::Kind::kArray:
      return "an array";
    case JsonValue::Kind::kObject:
      break;
  }
  return "an object";
}

// Reads the members of one object and collects what is wrong with them, so that a user who repairs
// a file sees all of it at once.
class Reader {
 public:
  Reader(const fs::path& file, const JsonValue& object) : file_(file.string()), object_(object) {
    if (!object.is_object()) {
      fail(ErrorCode::kDataLoss, "{}: expected a JSON object, got {}", file_, describe(object));
    }
  }

  int64_t integer(std::string_view key, int64_t min, int64_t max) {
    const auto value = object_.find(key);
    // number() first: it takes integers beyond 64 bits, which integer() refuses.
    if (value && value->kind() == JsonValue::Kind::kInteger) {
      const double rough = value->number(key);
      if (rough >= static_cast<double>(min) && rough <= static_cast<double>(max)) {
        return value->integer(key);
      }
    }
    wrong(key, fmt::format("an integer from {} to {}", min, max), value);
    return min;
  }

  double number_between(std::string_view key, double low, double high) {
    const auto value = object_.find(key);
    if (value && value->is_number()) {
      const double number = value->number(key);
      if (number > low && number < high) return number;
    }
    wrong(key, fmt::format("a number between {} and {}", low, high), value);
    return low;
  }

  /// In [0, 1).
  double rate_or(std::string_view key, double fallback) {
    const auto value = object_.find(key);
    if (!value) return fallback;
    if (value->is_number()) {
      const double number = value->number(key);
      if (number >= 0 && number < 1) return number;
    }
    wrong(key, "a number from 0 to below 1", value);
    return fallback;
  }

  std::string string(std::string_view key) {
    const auto value = object_.find(key);
    if (value && value->is_string() && !value->string(key).empty()) {
      return std::string(value->string(key));
    }
    wrong(key, "a name", value);
    return {};
  }

  std::string string_or(std::string_view key, std::string_view fallback) {
    return object_.find(key) ? string(key) : std::string(fallback);
  }

  bool boolean_or_false(std::string_view key) {
    const auto value = object_.find(key);
    if (!value) return false;
    if (value->is_bool()) return value->boolean(key);
    wrong(key, "true or false", value);
    return false;
  }

  void wrong(std::string_view key, std::string_view expected, const std::optional<JsonValue>& got) {
    problems_.push_back(fmt::format("{}: expected {}, got {}", key, expected, describe(got)));
  }
  void problem(std::string text) { problems_.push_back(std::move(text)); }
  bool ok() const { return problems_.empty(); }
  const JsonValue& object() const { return object_; }

  // `note` follows the file's name.
  void finish(std::string_view note = {}) const {
    if (ok()) return;
    fail(ErrorCode::kDataLoss, "{}{}: {}", file_, note, fmt::join(problems_, "; "));
  }

 private:
  std::string file_;
  JsonValue object_;
  std::vector<std::string> problems_;
};

JsonDocument read_json(const fs::path& file) {
  return JsonDocument::parse(read_text_file(file), file.string());
}

std::vector<std::string> read_architectures(Reader& reader) {
  const auto list = reader.object().find("architectures");
  if (!list) return {};
  std::vector<std::string> names;
  if (!list->is_array()) {
    reader.wrong("architectures", "an array of names", list);
    return names;
  }
  for (const JsonValue& name : list->elements("architectures")) {
    if (name.is_string()) {
      names.emplace_back(name.string("architectures"));
    } else {
      reader.wrong("architectures", "an array of names, each a string", name);
    }
  }
  return names;
}

// {"0": "negative", "1": "positive"}: each index once, in whatever order.
std::vector<std::string> read_id2label(Reader& reader, const JsonValue& id2label) {
  if (!id2label.is_object()) {
    reader.wrong("id2label", "an object of index and name", id2label);
    return {};
  }
  const auto members = id2label.members("id2label");
  std::vector<std::string> labels(members.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto name = id2label.find(std::to_string(i));
    if (name && name->is_string()) {
      labels[i] = name->string("id2label");
    } else {
      reader.wrong(fmt::format("id2label: \"{}\"", i),
                   fmt::format("a name (for {} labels, counted from 0)", labels.size()), name);
      break;
    }
  }
  return labels;
}

std::vector<std::string> read_labels(Reader& reader) {
  constexpr int64_t kMaxLabels = 1 << 20;
  if (const auto id2label = reader.object().find("id2label")) {
    return read_id2label(reader, *id2label);
  }
  if (!reader.object().find("num_labels")) return {};
  const int64_t count = reader.integer("num_labels", 1, kMaxLabels);
  std::vector<std::string> labels;
  for (int64_t i = 0; i < count; ++i) labels.push_back(fmt::format("LABEL_{}", i));
  return labels;
}

}  // namespace

ModelConfig read_model_config(const fs::path& directory) {
  constexpr std::string_view kNeeds =
      "a model directory needs config.json, tokenizer.json and the weights "
      "(model.safetensors or pytorch_model.bin)";
  const fs::path file = directory / "config.json";
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) {
    fail(ErrorCode::kNotFound, "{}: no such directory; {}", directory.string(), kNeeds);
  }
  if (!fs::exists(file, ignored)) {
    fail(ErrorCode::kNotFound, "{}: no such file; {}", file.string(), kNeeds);
  }
  const JsonDocument document = read_json(file);
  Reader reader(file, document.root());
  ModelConfig config;
  config.model_type = reader.string("model_type");
  config.architectures = read_architectures(reader);
  config.hidden_size = reader.integer("hidden_size", 1, kMaxSize);
  config.num_hidden_layers = reader.integer("num_hidden_layers", 1, kMaxSize);
  config.num_attention_heads = reader.integer("num_attention_heads", 1, kMaxSize);
  config.intermediate_size = reader.integer("intermediate_size", 1, kMaxSize);
  config.vocab_size = reader.integer("vocab_size", 1, kMaxSize);
  config.max_position_embeddings = reader.integer("max_position_embeddings", 1, kMaxSize);
  config.type_vocab_size = reader.integer("type_vocab_size", 0, kMaxSize);
  config.hidden_act = reader.string("hidden_act");
  config.layer_norm_eps = reader.number_between("layer_norm_eps", 0, 1);
  config.pad_token_id = reader.integer("pad_token_id", 0, kMaxSize);
  config.hidden_dropout_prob = reader.rate_or("hidden_dropout_prob", 0.1);
  config.attention_probs_dropout_prob = reader.rate_or("attention_probs_dropout_prob", 0.1);
  config.classifier_dropout = reader.rate_or("classifier_dropout", config.hidden_dropout_prob);
  config.initializer_range = reader.rate_or("initializer_range", 0.02);
  config.position_embedding_type = reader.string_or("position_embedding_type", "absolute");
  config.labels = read_labels(reader);
  if (reader.ok() && config.hidden_size % config.num_attention_heads != 0) {
    reader.problem(
        fmt::format("num_attention_heads: expected a divisor of hidden_size = {}, got {}",
                    config.hidden_size, config.num_attention_heads));
  }
  if (reader.ok() && config.pad_token_id >= config.vocab_size) {
    reader.problem(fmt::format("pad_token_id: expected an id below vocab_size = {}, got {}",
                               config.vocab_size, config.pad_token_id));
  }
  // The type of model tells a reader why keys of an encoder are missing, when it is none.
  reader.finish(config.model_type.empty() ? ""
                                          : fmt::format(" (model_type {})", config.model_type));
  return config;
}

namespace {

// "sentence_transformers.models.Pooling" -> "Pooling".
std::string_view last_part(std::string_view type) { return type.substr(type.rfind('.') + 1); }

std::string pooling_name(std::string_view name) {
  return std::string(name == "lasttoken" || name == "last_token" ? "last" : name);
}

// Old files have one boolean a mode, newer ones a name or an array of names.
std::string read_pooling(const fs::path& file) {
  constexpr std::pair<std::string_view, std::string_view> kModes[] = {
      {"pooling_mode_cls_token", "cls"},
      {"pooling_mode_mean_tokens", "mean"},
      {"pooling_mode_max_tokens", "max"},
      {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len"},
      {"pooling_mode_weightedmean_tokens", "weightedmean"},
      {"pooling_mode_lasttoken", "last"}};
  const JsonDocument document = read_json(file);
  Reader reader(file, document.root());
  std::vector<std::string> modes;
  if (const auto mode = reader.object().find("pooling_mode")) {
    const auto names = mode->is_array() ? mode->elements("pooling_mode") : std::vector{*mode};
    for (const JsonValue& name : names) {
      if (name.is_string()) {
        modes.push_back(pooling_name(name.string("pooling_mode")));
      } else {
        reader.wrong("pooling_mode", "a name or an array of names", name);
      }
    }
  } else {
    for (const auto& [key, name] : kModes) {
      if (reader.boolean_or_false(key)) modes.emplace_back(name);
    }
  }
  if (modes.empty()) reader.problem("expected one pooling_mode_* that is true, got none");
  reader.finish();
  return fmt::format("{}", fmt::join(modes, "+"));
}

// sentence-transformers looks for the same names, in this order.
void read_transformer_module(const fs::path& directory, SentenceTransformersConfig& config) {
  for (const char* kind :
       {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"}) {
    const fs::path file = directory / fmt::format("sentence_{}_config.json", kind);
    std::error_code ignored;
    if (!fs::exists(file, ignored)) continue;
    const JsonDocument document = read_json(file);
    Reader reader(file, document.root());
    if (reader.object().find("max_seq_length")) {
      config.max_seq_length = reader.integer("max_seq_length", 1, kMaxSize);
    }
    config.do_lower_case = reader.boolean_or_false("do_lower_case");
    reader.finish();
    return;
  }
}

}  // namespace

SentenceTransformersConfig read_sentence_transformers_config(const fs::path& directory) {
  SentenceTransformersConfig config;
  const fs::path file = directory / "modules.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return config;
  config.present = true;
  const JsonDocument document = read_json(file);
  for (const JsonValue& module : document.root().elements("modules")) {
    const auto kind = last_part(module.at("type").string("type"));
    const std::string path = module.string_or("path", "");
    if ((kind == "Transformer" || kind == "MLMTransformer") && path.empty()) {
      read_transformer_module(directory, config);
    } else if (kind == "Pooling") {
      const fs::path folder = path_inside(directory, path, file.string(), "path of Pooling");
      config.pooling = read_pooling(folder / "config.json");
    } else if (kind == "SpladePooling") {
      config.pooling = "splade";
    } else if (kind == "Normalize") {
      config.normalize = true;
    } else {
      config.unsupported_modules.push_back(
          kind == "Transformer" ? fmt::format("Transformer in {}", path) : std::string(kind));
    }
  }
  return config;
}

}  // namespace tamis::io
