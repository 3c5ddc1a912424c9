#pragma once

// What an operator may set: by flag, by environment or in a file, all from one table.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "service/model_set.h"
#include "transport/server.h"

namespace tamis::server {

enum class LogFormat { kText, kJson };

/// Everything that `tamis serve` was told. Times in milliseconds.
struct Settings {
  // Network
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  std::filesystem::path unix_socket;
  int unix_mode = 0660;
  std::filesystem::path admin_socket;
  TlsFiles tls;
  std::vector<std::string> cors_origins;  ///< "*" = any
  TransportLimits limits;
  double address_rate = 0;  ///< requests a second of one address; 0 = as many as it likes
  int io_threads = 1;

  // Models
  std::vector<ModelSource> models;  ///< with what follows where they say nothing themselves
  LoadOptions load;
  size_t max_length = 0;
  std::vector<std::string> sims;
  std::string cuda, cuda_plugin;
  int warmup_ms = 10'000;

  // Scheduling
  size_t max_requests = 512;  ///< answered at once; more: 429
  size_t max_tokens = 0;      ///< waiting and running; more: 429; 0 = what takes max_wait_ms
  int max_wait_ms = 10'000;
  int request_ms = 0;  ///< deadline of a request that names none; 0 = none
  int drain_ms = 30'000;

  // Keys and logs
  std::filesystem::path api_key_file, admin_key_file;  ///< a key a line
  std::vector<std::string> api_keys, admin_keys;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  std::filesystem::path log_file;  ///< "" = standard error
  bool log_requests = true;

  std::filesystem::path file;  ///< that settings were read from
};

/// One row of the table. `--max-body 8MiB`, TAMIS_SERVE_MAX_BODY=8MiB and `max_body = "8MiB"` in
/// the file are the same.
struct Setting {
  std::string_view name;  ///< of the flag, without the dashes
  std::string_view group;
  std::string_view value;     ///< what is to be given: "SIZE", "N", "MS", "FILE"
  std::string_view fallback;  ///< for people
  std::string_view help;
  bool list = false;     ///< may be given several times; commas between in the environment
  bool reloads = false;  ///< read again by a reload
  bool secret = false;   ///< not by flag, which every user of the machine can see, and never shown
  void (*set)(Settings& settings, std::string_view text) = nullptr;  ///< throws invalid_argument
};

std::span<const Setting> all_settings();
std::string environment_name(const Setting& setting);  ///< "TAMIS_SERVE_MAX_BODY"
std::string key_name(const Setting& setting);          ///< "max_body"

/// A value by flag: the setting's name and the text.
using GivenFlags = std::vector<std::pair<std::string, std::string>>;
/// A variable of the environment; empty optional if it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The defaults, over them the file (--config or TAMIS_SERVE_CONFIG), over it the environment, over
/// it the flags. A list is replaced by the next layer, not added to.
/// Errors: invalid_argument (says which flag, variable, or line of the file, what was expected, and
/// of an unknown key the nearest), not_found (the file, a key file).
Settings read_settings(const GivenFlags& flags, const Environment& environment);

/// The table as the page of docs shows it, in Markdown; a test compares them.
std::string settings_table();

/// The keys of a file: a line each, without blanks around; # begins a comment. Errors: not_found,
/// invalid_argument (none in it; shorter than 8 characters).
std::vector<std::string> read_keys(const std::filesystem::path& file);

}  // namespace tamis::server
