#pragma once

// What the server writes for people and for machines: a line for each event.

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "config/settings.h"
#include "tamis/log.h"

namespace tamis::server {

/// Thread rule: any thread. A line that cannot be written (a full disk) is counted, and no error.
class Log {
 public:
  using Value = std::variant<std::string_view, int64_t, double>;
  using Field = std::pair<std::string_view, Value>;

  /// `file` empty = standard error. Errors: not_found (the file cannot be opened).
  Log(LogLevel level, LogFormat format, std::filesystem::path file);
  ~Log();

  void write(LogLevel level, std::string_view message, std::initializer_list<Field> fields = {});
  bool takes(LogLevel level) const;
  void set_level(LogLevel level);
  /// After the file was moved away. Errors: as the constructor's, and the old one stays.
  void reopen();
  uint64_t lost() const { return lost_; }

  /// For a model's own words.
  LogSink sink(std::string model);

 private:
  struct Impl;
  std::atomic<LogLevel> level_;
  LogFormat format_;
  std::filesystem::path file_;
  std::atomic<uint64_t> lost_{0};
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis::server
