#include "convert.h"

#include <fmt/format.h>

namespace tamis::python {
namespace {

std::string name_of_type(nb::handle value) {
  return nb::cast<std::string>(value.type().attr("__name__"));
}

[[noreturn]] void refuse(const std::string& where, std::string_view expected, nb::handle got) {
  throw nb::type_error(
      fmt::format("{}: expected {}, got {}", where, expected, name_of_type(got)).c_str());
}

bool is_sequence(nb::handle value) {
  return nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value);
}

std::string element(const std::string& where, size_t i) { return fmt::format("{}[{}]", where, i); }

}  // namespace

std::string text_of(nb::handle value, const std::string& where) {
  if (!PyUnicode_Check(value.ptr())) refuse(where, "str", value);
  Py_ssize_t size = 0;
  if (const char* data = PyUnicode_AsUTF8AndSize(value.ptr(), &size)) {
    return {data, static_cast<size_t>(size)};
  }
  PyErr_Clear();
  const auto bytes =
      nb::steal<nb::bytes>(PyUnicode_AsEncodedString(value.ptr(), "utf-8", "surrogatepass"));
  if (!bytes.is_valid()) throw nb::python_error();
  return {bytes.c_str(), bytes.size()};
}

std::vector<std::string> texts_of(nb::handle values, const std::string& where) {
  if (!is_sequence(values)) refuse(where, "a list of str", values);
  std::vector<std::string> out;
  for (nb::handle value : values) out.push_back(text_of(value, element(where, out.size())));
  return out;
}

std::vector<std::pair<std::string, std::string>> pairs_of(nb::handle values,
                                                          const std::string& where) {
  if (!is_sequence(values)) refuse(where, "a list of pairs", values);
  std::vector<std::pair<std::string, std::string>> out;
  for (nb::handle value : values) {
    const std::string here = element(where, out.size());
    if (!is_sequence(value) || nb::len(value) != 2) {
      const std::string got =
          is_sequence(value) ? fmt::format("{} elements", nb::len(value)) : name_of_type(value);
      throw nb::type_error(
          fmt::format("{}: expected a query and a passage, got {}", here, got).c_str());
    }
    out.emplace_back(text_of(value[0], here + "[0]"), text_of(value[1], here + "[1]"));
  }
  return out;
}

std::vector<std::string_view> views_of(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

nb::dict dict_of(const RunStats& s) {
  nb::dict out;
  out["sequences"] = s.sequences;
  out["tokens"] = s.tokens;
  out["truncated"] = s.truncated;
  out["utf8_replacements"] = s.utf8_replacements;
  out["tokenize_ms"] = s.tokenize_ms;
  out["inference_ms"] = s.inference_ms;
  return out;
}

nb::dict dict_of(const ModelInfo& i) {
  nb::dict out;
  out["directory"] = i.directory.string();
  out["architecture"] = i.architecture;
  out["kind"] = i.kind == ModelKind::kCrossEncoder ? "cross_encoder" : "embedder";
  out["hidden_size"] = i.hidden_size;
  out["num_layers"] = i.num_layers;
  out["num_heads"] = i.num_heads;
  out["intermediate_size"] = i.intermediate_size;
  out["vocab_size"] = i.vocab_size;
  out["max_length"] = i.max_length;
  out["labels"] = i.labels;
  out["pooling"] = i.pooling;
  out["normalize"] = i.normalize;
  out["sparse"] = i.sparse;
  out["colbert_dimension"] = i.colbert_dimension;
  out["parameters"] = i.parameters;
  return out;
}

nb::dict dict_of(const MemoryPlan& p) {
  nb::dict out;
  out["device"] = p.device;
  out["mapped_bytes"] = p.mapped_bytes;
  out["weight_bytes"] = p.weight_bytes;
  out["workspace_bytes"] = p.workspace_bytes;
  out["batch_tokens"] = p.batch_tokens;
  return out;
}

nb::dict dict_of(const DeviceStatus& d) {
  nb::dict out;
  out["name"] = d.name;
  out["kind"] = d.kind;
  out["description"] = d.description;
  out["usable"] = d.usable;
  out["problem"] = d.problem;
  out["open"] = d.open;
  out["total_bytes"] = d.total_bytes;
  out["free_bytes"] = d.free_bytes;
  out["used_bytes"] = d.used_bytes;
  out["reserved_bytes"] = d.reserved_bytes;
  out["peak_bytes"] = d.peak_bytes;
  out["other_bytes"] = d.other_bytes;
  return out;
}

nb::dict dict_of(const Placement& p) {
  nb::dict out;
  out["device"] = p.device;
  out["description"] = p.description;
  out["dtype"] = p.dtype;
  out["threads"] = p.threads;
  out["weight_bytes"] = p.weight_bytes;
  out["workspace_bytes"] = p.workspace_bytes;
  out["batch_tokens"] = p.batch_tokens;
  out["on_device"] = p.on_device;
  out["shares_weights"] = p.shares_weights;
  out["retired"] = p.retired;
  out["error"] = p.error;
  out["batches"] = p.batches;
  out["tokens"] = p.tokens;
  out["busy_ms"] = p.busy_ms;
  return out;
}

nb::dict dict_of(const MoveReport& r) {
  nb::dict out;
  out["from"] = r.from;
  out["to"] = r.to;
  out["reason"] = r.reason;
  out["load_ms"] = r.load_ms;
  out["pause_ms"] = r.pause_ms;
  out["weight_bytes"] = r.weight_bytes;
  return out;
}

nb::dict dict_of(const WarmupResult& r) {
  nb::dict out;
  out["device"] = r.device;
  out["sequences"] = r.shape.sequences;
  out["tokens"] = r.shape.tokens;
  out["first_ms"] = r.first_ms;
  out["second_ms"] = r.second_ms;
  out["skipped"] = r.skipped;
  out["error"] = r.error;
  return out;
}

LogSink LogQueue::sink() {
  return [lines = lines_](LogLevel level, std::string_view text) {
    const std::lock_guard lock(lines->mutex);
    lines->lines.emplace_back(level, text);
  };
}

void LogQueue::flush() {
  std::vector<std::pair<LogLevel, std::string>> lines;
  {
    const std::lock_guard lock(lines_->mutex);
    lines.swap(lines_->lines);
  }
  if (lines.empty()) return;
  const nb::object logger = nb::module_::import_("logging").attr("getLogger")("tamis");
  for (const auto& [level, text] : lines) {
    // Levels of logging: DEBUG 10, INFO 20, WARNING 30, ERROR 40.
    const int number = level == LogLevel::kDebug     ? 10
                       : level == LogLevel::kInfo    ? 20
                       : level == LogLevel::kWarning ? 30
                                                     : 40;
    logger.attr("log")(number, "%s", text);
  }
}

}  // namespace tamis::python
