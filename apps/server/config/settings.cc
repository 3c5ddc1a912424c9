#include "config/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>

#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis::server {
namespace {

using Text = std::string_view;

template <class Number>
Number number(Text text, Number least, Number most) {
  Number value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || !(value >= least) ||
      !(value <= most)) {
    fail(ErrorCode::kInvalidArgument, "expected a number from {} to {}, got '{}'", least, most,
         text);
  }
  return value;
}

size_t count(Text text) { return number<size_t>(text, 0, std::numeric_limits<uint32_t>::max()); }
size_t at_least_one(Text text) {
  return number<size_t>(text, 1, std::numeric_limits<uint32_t>::max());
}
int milliseconds(Text text) { return number<int>(text, 0, 86'400'000); }
int positive_ms(Text text) { return number<int>(text, 1, 86'400'000); }

bool yes_or_no(Text text) {
  if (text == "true" || text == "yes" || text == "on" || text == "1") return true;
  if (text == "false" || text == "no" || text == "off" || text == "0") return false;
  fail(ErrorCode::kInvalidArgument, "expected true or false, got '{}'", text);
}

/// The value that stands beside the word.
template <class Value, size_t n>
Value one_of(Text text, const std::array<std::pair<Text, Value>, n>& words) {
  std::string all;
  for (const auto& [word, value] : words) {
    if (word == text) return value;
    all += (all.empty() ? "" : ", ") + std::string(word);
  }
  fail(ErrorCode::kInvalidArgument, "expected one of {}, got '{}'", all, text);
}

LogLevel log_level(Text text) {
  return one_of<LogLevel, 4>(text, {{{"debug", LogLevel::kDebug},
                                     {"info", LogLevel::kInfo},
                                     {"warning", LogLevel::kWarning},
                                     {"error", LogLevel::kError}}});
}

LogFormat log_format(Text text) {
  return one_of<LogFormat, 2>(text, {{{"text", LogFormat::kText}, {"json", LogFormat::kJson}}});
}

int octal_mode(Text text) {
  int mode = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || stop != text.data() + text.size() || mode < 0 || mode > 0777) {
    fail(ErrorCode::kInvalidArgument, "expected permissions such as 0660, got '{}'", text);
  }
  return mode;
}

std::string dtype(Text text) {
  if (text != "f32" && text != "f16" && text != "bf16" && text != "int8") {
    fail(ErrorCode::kInvalidArgument, "expected f32, f16, bf16 or int8, got '{}'", text);
  }
  return std::string(text);
}

/// "DIR" or "NAME=DIR".
ModelSource model_source(Text text) {
  ModelSource out;
  const size_t equals = text.find('=');
  if (equals != Text::npos && equals < text.find('/')) {
    out.id = text.substr(0, equals);
    text = text.substr(equals + 1);
  }
  if (text.empty()) fail(ErrorCode::kInvalidArgument, "expected DIR or NAME=DIR, got nothing");
  out.directory = text;
  return out;
}

using S = Settings;

constexpr Text kNetwork = "Network", kModels = "Models", kWork = "Scheduling", kLimits = "Limits",
               kKeys = "Keys", kLogs = "Logs";

// Of each row: name, group, value, default, help, list, reloads, secret, set.
constexpr std::array kTable = {
    Setting{"config", kNetwork, "FILE", "", "settings in TOML; `tamis serve --check` explains them",
            false, false, false, [](S& s, Text t) { s.file = t; }},
    Setting{"host", kNetwork, "ADDRESS", "127.0.0.1", "where to listen; 0.0.0.0 = everywhere",
            false, false, false, [](S& s, Text t) { s.host = t; }},
    Setting{"port", kNetwork, "N", "8080", "0 = any free one, which is told", false, false, false,
            [](S& s, Text t) { s.port = number<uint16_t>(t, 0, 65535); }},
    Setting{"unix-socket", kNetwork, "PATH", "", "listen there instead of on a port", false, false,
            false, [](S& s, Text t) { s.unix_socket = t; }},
    Setting{"unix-mode", kNetwork, "MODE", "0660", "permissions of that socket", false, false,
            false, [](S& s, Text t) { s.unix_mode = octal_mode(t); }},
    Setting{"admin-socket", kNetwork, "PATH", "",
            "a Unix socket (mode 0600) on which admin routes need no key", false, false, false,
            [](S& s, Text t) { s.admin_socket = t; }},
    Setting{"tls-certificate", kNetwork, "FILE", "", "PEM with its chain; turns TLS on", false,
            true, false, [](S& s, Text t) { s.tls.certificate = t; }},
    Setting{"tls-key", kNetwork, "FILE", "", "PEM", false, true, false,
            [](S& s, Text t) { s.tls.key = t; }},
    Setting{"cors-origin", kNetwork, "ORIGIN", "none",
            "pages of this origin may call from a browser; * = all", true, false, false,
            [](S& s, Text t) { s.cors_origins.emplace_back(t); }},
    Setting{"io-threads", kNetwork, "N", "1", "that read and write sockets", false, false, false,
            [](S& s, Text t) { s.io_threads = number<int>(t, 1, 64); }},

    Setting{"model", kModels, "[NAME=]DIR", "$TAMIS_MODEL",
            "a model to serve; in the file a [[model]] each", true, true, false,
            [](S& s, Text t) { s.models.push_back(model_source(t)); }},
    Setting{"device", kModels, "LIST", "cpu", "cpu, cuda:0, cpu,cpu, ...: see docs/devices.md",
            false, false, false, [](S& s, Text t) { s.load.device = t; }},
    Setting{"dtype", kModels, "NAME", "f32; int8 of a quantised model", "f32, f16, bf16 or int8",
            false, false, false, [](S& s, Text t) { s.load.dtype = dtype(t); }},
    Setting{"threads", kModels, "N", "all usable cores", "that compute", false, false, false,
            [](S& s, Text t) { s.load.threads = number<int>(t, 0, 4096); }},
    Setting{"isa", kModels, "NAME", "the best here", "instruction set of the cpu", false, false,
            false, [](S& s, Text t) { s.load.isa = t; }},
    Setting{"memory-limit", kModels, "SIZE", "none", "the most that a model may take on a device",
            false, false, false, [](S& s, Text t) { s.load.memory_limit_bytes = parse_bytes(t); }},
    Setting{"batch-tokens", kModels, "N", "what suits the device", "tokens of a batch", false,
            false, false, [](S& s, Text t) { s.load.batch_tokens = count(t); }},
    Setting{"max-length", kModels, "N", "what the model takes",
            "tokens of an input where a request says nothing", false, false, false,
            [](S& s, Text t) { s.max_length = count(t); }},
    Setting{"cache", kModels, "DIR", "none", "keep packed weights there for the next start", false,
            false, false, [](S& s, Text t) { s.load.cache_directory = t; }},
    Setting{"warmup-ms", kModels, "MS", "10000",
            "made-up batches before /health says ready, at most so long; 0 = none", false, false,
            false, [](S& s, Text t) { s.warmup_ms = milliseconds(t); }},
    Setting{"sim", kModels, "TEXT", "", "what sim:0, sim:1, ... are: memory=2GiB,gflops=50", true,
            false, false, [](S& s, Text t) { s.sims.emplace_back(t); }},
    Setting{"cuda", kModels, "LIST", "", "how GPUs are used: see docs/gpu.md", false, false, false,
            [](S& s, Text t) { s.cuda = t; }},
    Setting{"cuda-plugin", kModels, "FILE", "beside this program", "libtamis_cuda.so", false, false,
            false, [](S& s, Text t) { s.cuda_plugin = t; }},

    Setting{"max-requests", kWork, "N", "512", "answered at the same time; more are told 429",
            false, false, false, [](S& s, Text t) { s.max_requests = at_least_one(t); }},
    Setting{"max-tokens", kWork, "N", "0",
            "waiting and running; more are told 429; 0 = what takes max-wait-ms", false, true,
            false, [](S& s, Text t) { s.max_tokens = count(t); }},
    Setting{"max-wait-ms", kWork, "MS", "10000", "work that is let in, by the speed measured",
            false, true, false, [](S& s, Text t) { s.max_wait_ms = positive_ms(t); }},
    Setting{"request-ms", kWork, "MS", "0", "deadline of a request that names none; 0 = none",
            false, true, false, [](S& s, Text t) { s.request_ms = milliseconds(t); }},
    Setting{"drain-ms", kWork, "MS", "30000", "for what is begun when SIGTERM comes", false, true,
            false, [](S& s, Text t) { s.drain_ms = milliseconds(t); }},

    Setting{"max-body", kLimits, "SIZE", "32MiB", "of a request; more: 413", false, false, false,
            [](S& s, Text t) { s.limits.body_bytes = parse_bytes(t); }},
    Setting{"max-bodies", kLimits, "SIZE", "256MiB", "of all requests at once; more: 503", false,
            false, false, [](S& s, Text t) { s.limits.bodies_bytes = parse_bytes(t); }},
    Setting{"max-header", kLimits, "SIZE", "16KiB", "of a request; more: 431", false, false, false,
            [](S& s, Text t) { s.limits.header_bytes = parse_bytes(t); }},
    Setting{"header-ms", kLimits, "MS", "10000", "to send a header", false, false, false,
            [](S& s, Text t) { s.limits.header_ms = positive_ms(t); }},
    Setting{"body-ms", kLimits, "MS", "60000", "to send a body", false, false, false,
            [](S& s, Text t) { s.limits.body_ms = positive_ms(t); }},
    Setting{"write-ms", kLimits, "MS", "60000", "to take an answer", false, false, false,
            [](S& s, Text t) { s.limits.write_ms = positive_ms(t); }},
    Setting{"idle-ms", kLimits, "MS", "120000", "between two requests of a connection", false,
            false, false, [](S& s, Text t) { s.limits.idle_ms = positive_ms(t); }},
    Setting{"max-connections", kLimits, "N", "4096", "more are told 503", false, false, false,
            [](S& s, Text t) { s.limits.connections = at_least_one(t); }},
    Setting{"max-connections-per-address", kLimits, "N", "2048", "more are told 503", false, false,
            false, [](S& s, Text t) { s.limits.connections_per_address = at_least_one(t); }},
    Setting{"address-rate", kLimits, "N", "0",
            "requests a second of one address; more: 429; 0 = any", false, true, false,
            [](S& s, Text t) { s.address_rate = number<double>(t, 0, 1e9); }},

    Setting{"api-key", kKeys, "KEY", "", "whoever has one of these may use the models", true, true,
            true, [](S& s, Text t) { s.api_keys.emplace_back(t); }},
    Setting{"api-key-file", kKeys, "FILE", "", "a key a line", false, true, false,
            [](S& s, Text t) { s.api_key_file = t; }},
    Setting{
        "admin-key", kKeys, "KEY", "",
        "for loading, moving, unloading; without one, those routes are on the admin socket only",
        true, true, true, [](S& s, Text t) { s.admin_keys.emplace_back(t); }},
    Setting{"admin-key-file", kKeys, "FILE", "", "a key a line", false, true, false,
            [](S& s, Text t) { s.admin_key_file = t; }},

    Setting{"log-level", kLogs, "NAME", "info", "debug, info, warning or error", false, true, false,
            [](S& s, Text t) { s.log_level = log_level(t); }},
    Setting{"log-format", kLogs, "NAME", "text", "text or json", false, false, false,
            [](S& s, Text t) { s.log_format = log_format(t); }},
    Setting{"log-file", kLogs, "FILE", "standard error", "opened again by a reload", false, false,
            false, [](S& s, Text t) { s.log_file = t; }},
    Setting{"log-requests", kLogs, "BOOL", "true", "a line for each request", false, true, false,
            [](S& s, Text t) { s.log_requests = yes_or_no(t); }},
};

std::string trimmed(std::string_view line) {
  const size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return std::string(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin));
}

std::string with(std::string_view name, char separator, bool upper) {
  std::string out(name);
  for (char& c : out) {
    if (c == '-') c = separator;
    if (upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

}  // namespace

std::span<const Setting> all_settings() { return kTable; }

std::string environment_name(const Setting& setting) {
  return "TAMIS_SERVE_" + with(setting.name, '_', true);
}

std::string key_name(const Setting& setting) { return with(setting.name, '_', false); }

std::string settings_table() {
  std::string out = "| flag | environment | file | default | what |\n|---|---|---|---|---|\n";
  for (const Setting& s : all_settings()) {
    const std::string flag = s.secret ? "–" : fmt::format("`--{} {}`", s.name, s.value);
    out += fmt::format("| {} | `{}` | `{}` | {} | {}{} |\n", flag, environment_name(s), key_name(s),
                       s.fallback.empty() ? "–" : s.fallback, s.help, s.reloads ? " ↻" : "");
  }
  return out;
}

std::vector<std::string> read_keys(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) fail(ErrorCode::kNotFound, "{}: cannot be read", file.string());
  std::vector<std::string> out;
  std::string line;
  while (std::getline(in, line)) {
    const std::string key = trimmed(std::string_view(line).substr(0, line.find('#')));
    if (key.empty()) continue;
    if (key.size() < 8) {
      fail(ErrorCode::kInvalidArgument, "{}: a key of {} characters; expected at least 8",
           file.string(), key.size());
    }
    out.push_back(key);
  }
  if (out.empty()) fail(ErrorCode::kInvalidArgument, "{}: there is no key in it", file.string());
  return out;
}

}  // namespace tamis::server
