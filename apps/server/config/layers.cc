// The layers of the settings: file, environment, flags.

#define TOML_EXCEPTIONS 1
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>
#include <algorithm>
#include <map>
#include <numeric>

#include "base/fail.h"
#include "config/settings.h"

namespace tamis::server {
namespace {

/// Values by setting, and where each came from.
struct Given {
  std::vector<std::string> values;
  std::string where;  ///< "--port", "TAMIS_SERVE_PORT", "serve.toml:3: port"
};
using Layer = std::map<std::string, Given, std::less<>>;

const Setting* find_setting(std::string_view key) {
  for (const Setting& s : all_settings()) {
    if (key_name(s) == key) return &s;
  }
  return nullptr;
}

/// Edits that make b of a.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

[[noreturn]] void unknown_key(const std::string& where, std::string_view key,
                              const std::vector<std::string>& known) {
  const auto nearest = std::min_element(known.begin(), known.end(), [&](auto& a, auto& b) {
    return distance(key, a) < distance(key, b);
  });
  fail(ErrorCode::kInvalidArgument, "{}: there is no setting '{}'; did you mean '{}'?", where, key,
       *nearest);
}

std::string place(const std::filesystem::path& file, const toml::node& node) {
  return fmt::format("{}:{}", file.string(), node.source().begin.line);
}

/// A scalar as one would write it behind a flag.
std::string scalar(const std::string& where, const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* whole = node.as_integer()) return fmt::format("{}", whole->get());
  if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  fail(ErrorCode::kInvalidArgument, "{}: expected a text, a number or true or false", where);
}

std::vector<std::string> scalars(const std::string& where, const toml::node& node) {
  std::vector<std::string> out;
  if (const auto* array = node.as_array()) {
    for (const toml::node& element : *array) out.push_back(scalar(where, element));
  } else {
    out.push_back(scalar(where, node));
  }
  return out;
}

using ModelKey = void (*)(ModelSource&, const std::vector<std::string>&);
const std::map<std::string, ModelKey, std::less<>>& model_keys() {
  using V = const std::vector<std::string>&;
  static const std::map<std::string, ModelKey, std::less<>> keys = {
      {"id", [](ModelSource& m, V v) { m.id = v.at(0); }},
      {"directory", [](ModelSource& m, V v) { m.directory = v.at(0); }},
      {"aliases", [](ModelSource& m, V v) { m.aliases = v; }},
  };
  return keys;
}

/// A [[model]]: its own keys, and those settings of the group "Models" that belong to one model.
ModelSource read_model(const std::filesystem::path& file, const toml::table& table,
                       const Settings& defaults) {
  static const std::vector<std::string> own = {
      "device", "dtype", "threads", "isa", "memory_limit", "batch_tokens", "cache", "max_length"};
  ModelSource out;
  Settings settings = defaults;
  for (const auto& [key, node] : table) {
    const std::string name(key.str()), where = place(file, node) + ": " + name;
    const auto at = model_keys().find(name);
    try {
      if (at != model_keys().end()) {
        at->second(out, scalars(where, node));
      } else if (std::find(own.begin(), own.end(), name) != own.end()) {
        find_setting(name)->set(settings, scalar(where, node));
      } else {
        std::vector<std::string> known = own;
        for (const auto& [k, set] : model_keys()) known.push_back(k);
        unknown_key(place(file, node), name, known);
      }
    } catch (const Error& e) {
      if (std::string_view(e.what()).starts_with(file.string())) throw;
      fail(e.code(), "{}: {}", where, e.what());
    }
  }
  if (out.directory.empty()) {
    fail(ErrorCode::kInvalidArgument, "{}: a model needs its directory", place(file, table));
  }
  out.options = settings.load;
  out.max_length = settings.max_length;
  return out;
}

toml::table parse_file(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    fail(ErrorCode::kNotFound, "{}: there is no such file of settings", file.string());
  }
  try {
    return toml::parse_file(file.string());
  } catch (const toml::parse_error& e) {
    fail(ErrorCode::kInvalidArgument, "{}:{}: {}", file.string(), e.source().begin.line,
         e.description());
  }
}

Layer file_layer(const std::filesystem::path& file, const toml::table& table) {
  Layer out;
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (name == "model" && node.is_array_of_tables()) continue;
    const std::string where = place(file, node) + ": " + name;
    const Setting* setting = find_setting(name);
    if (setting == nullptr || name == "config") {
      std::vector<std::string> known;
      for (const Setting& s : all_settings()) known.push_back(key_name(s));
      unknown_key(place(file, node), name, known);
    }
    if (node.is_array() && !setting->list) {
      fail(ErrorCode::kInvalidArgument, "{}: expected one value, got a list", where);
    }
    out[name] = {scalars(where, node), where};
  }
  return out;
}

std::vector<std::string> split(const std::string& text, bool list) {
  if (!list) return {text};
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) out.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

Layer environment_layer(const Environment& environment) {
  Layer out;
  for (const Setting& s : all_settings()) {
    const std::string name = environment_name(s);
    // A device list and what describes a sim have commas of their own.
    const bool list = s.list && s.name != "sim";
    if (const auto value = environment(name)) out[key_name(s)] = {split(*value, list), name};
  }
  return out;
}

Layer flag_layer(const GivenFlags& flags) {
  Layer out;
  for (const auto& [name, value] : flags) {
    for (const Setting& s : all_settings()) {
      if (s.name != name) continue;
      Given& given = out[key_name(s)];
      given.where = "--" + name;
      if (!s.list) given.values.clear();
      given.values.push_back(value);
    }
  }
  return out;
}

void set_all(const Layer& layer, Settings& settings) {
  for (const auto& [key, given] : layer) {
    const Setting& setting = *find_setting(key);
    try {
      for (const std::string& value : given.values) setting.set(settings, value);
    } catch (const Error& e) {
      // Not the value of a secret, which ends in the log of whoever starts the service.
      fail(e.code(), "{}: {}", given.where, setting.secret ? "is not a key" : e.what());
    }
  }
}

std::optional<Given> find_given(const Layer& layer, std::string_view key) {
  const auto at = layer.find(key);
  return at == layer.end() ? std::nullopt : std::optional(at->second);
}

void check(const Settings& s) {
  if (s.tls.certificate.empty() != s.tls.key.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "TLS needs both tls-certificate and tls-key; only one of them is given");
  }
  for (const std::vector<std::string>* keys : {&s.api_keys, &s.admin_keys}) {
    for (const std::string& key : *keys) {
      if (key.size() >= 8) continue;
      fail(ErrorCode::kInvalidArgument, "a key has {} characters; expected at least 8", key.size());
    }
  }
}

}  // namespace

Settings read_settings(const GivenFlags& flags, const Environment& environment) {
  const Layer by_flag = flag_layer(flags), by_environment = environment_layer(environment);
  Layer by_file;
  Settings settings;
  toml::table file;
  auto config = find_given(by_flag, "config");
  if (!config) config = find_given(by_environment, "config");
  if (config) {
    settings.file = config->values.at(0);
    file = parse_file(settings.file);
    by_file = file_layer(settings.file, file);
  }
  // The strongest layer that names a setting gives it.
  Layer merged = by_file;
  for (const Layer* layer : {&by_environment, &by_flag}) {
    for (const auto& [key, given] : *layer) merged[key] = given;
  }
  set_all(merged, settings);
  for (ModelSource& model : settings.models) {
    model.options = settings.load;
    model.max_length = settings.max_length;
  }
  const auto* tables = file["model"].as_array();
  if (tables != nullptr && tables->is_array_of_tables()) {
    // Checked as well where --model replaces them.
    const bool replaced = merged.count("model") > 0;
    for (const toml::node& node : *tables) {
      ModelSource model = read_model(settings.file, *node.as_table(), settings);
      if (!replaced) settings.models.push_back(std::move(model));
    }
  }
  for (const auto& [file_of, keys] : {std::pair{&settings.api_key_file, &settings.api_keys},
                                      std::pair{&settings.admin_key_file, &settings.admin_keys}}) {
    if (file_of->empty()) continue;
    const std::vector<std::string> more = read_keys(*file_of);
    keys->insert(keys->end(), more.begin(), more.end());
  }
  check(settings);
  return settings;
}

}  // namespace tamis::server
