#include "watch/log.h"

#include <fmt/chrono.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <chrono>
#include <mutex>

#include "base/fail.h"
#include "io/json_writer.h"

namespace tamis::server {
namespace {

std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    default:
      return "error";
  }
}

/// "2026-11-27T15:43:21.123Z"
std::string now() {
  const auto time = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)), ms.count() % 1000);
}

spdlog::sink_ptr open_sink(const std::filesystem::path& file) {
  if (file.empty()) return std::make_shared<spdlog::sinks::stderr_sink_mt>();
  try {
    return std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string());
  } catch (const spdlog::spdlog_ex& e) {
    fail(ErrorCode::kNotFound, "the log {} cannot be opened: {}", file.string(), e.what());
  }
}

// A line break or an escape in what a client sent would forge a line, or speak to a terminal.
void append_plain(std::string& out, std::string_view text) {
  for (char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7f) {
      out += fmt::format("\\x{:02x}", code);
    } else {
      out += c;
    }
  }
}

struct Append {
  std::string& out;
  void operator()(std::string_view text) const { append_plain(out, text); }
  void operator()(int64_t number) const { out += fmt::format("{}", number); }
  void operator()(double number) const { out += fmt::format("{:.3f}", number); }
};

struct Write {
  io::JsonWriter& writer;
  void operator()(std::string_view text) const { writer.string(text); }
  void operator()(int64_t number) const { writer.integer(number); }
  void operator()(double number) const { writer.number(number); }
};

bool says_nothing(const Log::Value& value) {
  const auto* text = std::get_if<std::string_view>(&value);
  return text != nullptr && text->empty();
}

std::string text_line(LogLevel level, std::string_view message,
                      std::initializer_list<Log::Field> fields) {
  std::string out = fmt::format("{} {:7} ", now(), name_of(level));
  append_plain(out, message);
  for (const auto& [key, value] : fields) {
    if (says_nothing(value)) continue;
    out += fmt::format(" {}=", key);
    std::visit(Append{out}, value);
  }
  return out;
}

std::string json_line(LogLevel level, std::string_view message,
                      std::initializer_list<Log::Field> fields) {
  std::string out;
  io::JsonWriter writer(out);
  writer.begin_object().key("time").string(now()).key("level").string(name_of(level));
  writer.key("message").string(message);
  for (const auto& [key, value] : fields) {
    if (says_nothing(value)) continue;
    writer.key(key);
    std::visit(Write{writer}, value);
  }
  writer.end_object();
  return out;
}

}  // namespace

struct Log::Impl {
  std::mutex mutex;  // of the pointer; spdlog's sinks have their own
  std::shared_ptr<spdlog::logger> logger;

  std::shared_ptr<spdlog::logger> get() {
    const std::lock_guard lock(mutex);
    return logger;
  }
};

Log::Log(LogLevel level, LogFormat format, std::filesystem::path file)
    : level_(level), format_(format), file_(std::move(file)), impl_(std::make_unique<Impl>()) {
  reopen();
}

Log::~Log() = default;

void Log::reopen() {
  auto logger = std::make_shared<spdlog::logger>("tamis", open_sink(file_));
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);  // what happened before a crash is what one looks for
  logger->set_error_handler([this](const std::string&) { ++lost_; });
  const std::lock_guard lock(impl_->mutex);
  impl_->logger = std::move(logger);
}

bool Log::takes(LogLevel level) const { return level >= level_.load(); }
void Log::set_level(LogLevel level) { level_ = level; }

void Log::write(LogLevel level, std::string_view message, std::initializer_list<Field> fields) {
  if (!takes(level)) return;
  try {
    impl_->get()->info(format_ == LogFormat::kJson ? json_line(level, message, fields)
                                                   : text_line(level, message, fields));
  } catch (const std::exception&) {
    ++lost_;
  }
}

LogSink Log::sink(std::string model) {
  return [this, model = std::move(model)](LogLevel level, std::string_view text) {
    write(level, text, {{"model", std::string_view(model)}});
  };
}

}  // namespace tamis::server
