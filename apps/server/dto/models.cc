#include "dto/models.h"

#include <chrono>
#include <limits>
#include <optional>

#include "base/byte_size.h"
#include "dto/common.h"
#include "io/json_writer.h"
#include "tamis/error.h"

namespace tamis::server {
namespace {

using io::JsonWriter;

void write_strings(JsonWriter& json, std::string_view key, const std::vector<std::string>& list) {
  json.key(key).begin_array();
  for (const std::string& text : list) json.string(text);
  json.end_array();
}

std::vector<std::string> capabilities(const ServedModel& model) {
  std::vector<std::string> out;
  const ModelInfo& info = model.info();
  if (model.reranker() != nullptr && info.labels.size() < 2) out.push_back("rerank");
  if (info.kind == ModelKind::kCrossEncoder) out.push_back("classify");
  if (info.kind == ModelKind::kEmbedder && info.pooling != "splade") out.push_back("embed");
  if (info.sparse) out.push_back("sparse");
  if (info.colbert_dimension > 0) out.push_back("colbert");
  return out;
}

/// The members of a model's object, in the list and by itself.
void write_members(JsonWriter& json, const ServedModel& model) {
  const ModelInfo& info = model.info();
  json.key("id").string(model.id()).key("object").string("model");
  json.key("created").integer(
      std::chrono::duration_cast<std::chrono::seconds>(model.loaded().time_since_epoch()).count());
  json.key("owned_by").string("tamis");
  write_strings(json, "aliases", model.source().aliases);
  write_strings(json, "capabilities", capabilities(model));
  json.key("architecture").string(info.architecture);
  json.key("max_length").unsigned_integer(model.max_length(0));
  json.key("device").string(model.place().device()).key("dtype").string(model.dtype());
  if (info.kind == ModelKind::kEmbedder) {
    json.key("dimension").integer(info.hidden_size).key("pooling").string(info.pooling);
  }
}

void write_details(JsonWriter& json, const ModelInfo& info) {
  json.key("directory").string(info.directory.string());
  json.key("parameters").integer(info.parameters);
  json.key("hidden_size").integer(info.hidden_size).key("num_layers").integer(info.num_layers);
  json.key("vocab_size").integer(info.vocab_size);
  json.key("model_max_length").unsigned_integer(info.max_length);
  write_strings(json, "labels", info.labels);
}

void write_replica(JsonWriter& json, const Placement& place) {
  json.begin_object().key("device").string(place.device);
  json.key("description").string(place.description).key("dtype").string(place.dtype);
  json.key("threads").integer(place.threads);
  json.key("weight_bytes").unsigned_integer(place.weight_bytes);
  json.key("workspace_bytes").unsigned_integer(place.workspace_bytes);
  json.key("batch_tokens").unsigned_integer(place.batch_tokens);
  json.key("on_device").boolean(place.on_device);
  json.key("shares_weights").boolean(place.shares_weights);
  json.key("retired").boolean(place.retired).key("error").string(place.error);
  json.key("batches").unsigned_integer(place.batches).key("tokens").unsigned_integer(place.tokens);
  json.key("busy_ms").number(rounded(place.busy_ms));
  json.key("out_of_memory").unsigned_integer(place.out_of_memory).end_object();
}

void write_placement(JsonWriter& json, const ServedModel& model) {
  json.key("placement").begin_array();
  for (const Placement& place : model.place().placement()) write_replica(json, place);
  json.end_array();
}

void write_plan(JsonWriter& json, const MemoryPlan& plan) {
  json.key("memory").begin_object().key("device").string(plan.device);
  json.key("mapped_bytes").unsigned_integer(plan.mapped_bytes);
  json.key("weight_bytes").unsigned_integer(plan.weight_bytes);
  json.key("workspace_bytes").unsigned_integer(plan.workspace_bytes);
  json.key("batch_tokens").unsigned_integer(plan.batch_tokens).end_object();
}

void write_load(JsonWriter& json, const ModelLoad& load) {
  json.key("load").begin_object().key("calls").unsigned_integer(load.calls);
  json.key("waiting_sequences").unsigned_integer(load.waiting_sequences);
  json.key("waiting_tokens").unsigned_integer(load.waiting_tokens);
  json.key("running_batches").unsigned_integer(load.running_batches).end_object();
}

/// A number of bytes, or "2GiB".
std::optional<size_t> read_bytes(const Fields& fields, std::string_view key) {
  const auto value = fields.find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) {
    return static_cast<size_t>(
        integer_of(*value, fields.path(key), 1, std::numeric_limits<int64_t>::max()));
  }
  try {
    return parse_bytes(value->string(key));
  } catch (const Error&) {
    refuse(fields.path(key), "bytes, or a text such as \"2GiB\"", value->string(key));
  }
}

std::string device_of(const Fields& fields, std::string_view fallback) {
  const std::string_view device = fields.text_or("device", fallback);
  if (device.empty()) refuse(fields.path("device"), "the name of a device", "an empty string");
  return std::string(device);
}

std::optional<int> read_threads(const Fields& fields) {
  const auto threads = fields.integer_if("threads", 0, 65536);
  return threads ? std::optional(static_cast<int>(*threads)) : std::nullopt;
}

Pooling read_pooling(const Fields& fields, Pooling fallback) {
  const std::string_view name = fields.choice("pooling", {"cls", "mean", "last", "splade"}, "");
  return name.empty() ? fallback : parse_pooling(name);
}

}  // namespace

std::string write_models(const std::vector<ModelSet::Ref>& models) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("object").string("list").key("data").begin_array();
  for (const ModelSet::Ref& model : models) {
    json.begin_object();
    write_members(json, *model);
    json.end_object();
  }
  json.end_array().end_object();
  return out;
}

std::string write_model(const ServedModel& model) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  write_members(json, model);
  write_details(json, model.info());
  write_plan(json, model.memory_plan());
  write_placement(json, model);
  write_load(json, model.place().load());
  json.end_object();
  return out;
}

ModelSource read_model_source(const Fields& fields, const LoadOptions& defaults) {
  ModelSource out;
  out.id = fields.text_or("id", "");
  out.directory = fields.text("directory");
  if (out.directory.empty()) refuse(fields.path("directory"), "a path", "an empty string");
  if (fields.has("aliases")) {
    for (const std::string_view alias : fields.texts("aliases")) out.aliases.emplace_back(alias);
  }
  out.max_length = fields.count("max_length");
  out.options = defaults;
  out.options.device = device_of(fields, defaults.device);
  out.options.dtype = fields.text_or("dtype", defaults.dtype);
  out.options.threads = read_threads(fields).value_or(defaults.threads);
  if (const auto limit = read_bytes(fields, "memory_limit")) {
    out.options.memory_limit_bytes = limit;
  }
  if (const size_t tokens = fields.count("batch_tokens"); tokens > 0) {
    out.options.batch_tokens = tokens;
  }
  out.options.pooling = read_pooling(fields, defaults.pooling);
  return out;
}

std::string write_unloaded(std::string_view id) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("id").string(id).key("object").string("model");
  json.key("deleted").boolean(true).end_object();
  return out;
}

MoveAsk read_move(const Fields& fields) {
  MoveAsk out;
  out.device = device_of(fields, "");
  out.options.dtype = fields.text_or("dtype", "");
  out.options.threads = read_threads(fields);
  out.options.memory_limit_bytes = read_bytes(fields, "memory_limit");
  if (const size_t tokens = fields.count("batch_tokens"); tokens > 0) {
    out.options.batch_tokens = tokens;
  }
  return out;
}

std::string write_move(const MoveReport& report, const ServedModel& model) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("id").string(model.id()).key("from").string(report.from);
  json.key("to").string(report.to).key("reason").string(report.reason);
  json.key("load_ms").number(rounded(report.load_ms));
  json.key("pause_ms").number(rounded(report.pause_ms));
  json.key("weight_bytes").unsigned_integer(report.weight_bytes);
  write_placement(json, model);
  json.end_object();
  return out;
}

std::string write_trimmed(const std::vector<Trimmed>& models) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("models").begin_array();
  for (const Trimmed& model : models) {
    json.begin_object().key("id").string(model.id);
    json.key("freed_bytes").unsigned_integer(model.bytes).end_object();
  }
  json.end_array().end_object();
  return out;
}

}  // namespace tamis::server
