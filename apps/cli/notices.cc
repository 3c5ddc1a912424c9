#include "notices.h"

#include <fmt/format.h>
#include <unistd.h>

#include "display_width.h"

namespace tamis::cli {
namespace {

// One write a line, so that lines of several processes do not mix.
void write_to_stderr(const std::string& text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
}

// Messages of several lines (lists of mismatches) keep them; everything else is made printable.
std::string printable(std::string_view message) {
  std::string out;
  for (size_t at = 0; at <= message.size();) {
    const size_t end = std::min(message.find('\n', at), message.size());
    if (at > 0) out += "\n  ";
    out += fit_to_columns(message.substr(at, end - at), 0);
    at = end + 1;
  }
  return out;
}

}  // namespace

void print_error(std::string_view message, std::string_view hint) {
  std::string text = fmt::format("tamis: error: {}\n", printable(message));
  if (!hint.empty()) text += fmt::format("  hint: {}\n", printable(hint));
  write_to_stderr(text);
}

void say_failed_lines(size_t count, std::string_view where) {
  if (count == 0) return;
  print_error(fmt::format("{} {} of {} failed; the other results are complete", grouped(count),
                          count == 1 ? "line" : "lines", where));
}

void Notices::say(std::string_view message) const {
  if (level_ != Level::kQuiet) write_to_stderr(fmt::format("tamis: {}\n", printable(message)));
}

void Notices::say_replaced(size_t count, std::string_view where) const {
  if (count == 0) return;
  say(count == 1 ? fmt::format("1 ill-formed UTF-8 sequence in {} was replaced by U+FFFD", where)
                 : fmt::format("{} ill-formed UTF-8 sequences in {} were replaced by U+FFFD",
                               grouped(count), where));
}

void Notices::detail(std::string_view message) const {
  if (level_ == Level::kVerbose) say(message);
}

LogSink Notices::sink(LogLevel least) const {
  return [copy = *this, least](LogLevel level, std::string_view message) {
    if (level >= least || copy.level_ == Level::kVerbose) copy.say(message);
  };
}

std::string grouped(unsigned long long value) {
  std::string out = std::to_string(value);
  for (size_t at = out.size(); at > 3;) out.insert(at -= 3, 1, ',');
  return out;
}

}  // namespace tamis::cli
