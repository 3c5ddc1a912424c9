#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "notices.h"

namespace tamis::cli {
namespace {

constexpr double kSilentSeconds = 0.5;
constexpr auto kRedrawInterval = std::chrono::milliseconds(100);
constexpr size_t kBarColumns = 24;

void write_to_stderr(const std::string& text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string remaining_time(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s left", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min left", seconds / 60);
  return fmt::format("{:.1f} h left", seconds / 3600);
}

}  // namespace

Progress::Progress(bool wanted, std::string unit)
    : enabled_(wanted && may_decorate(STDERR_FILENO)), unit_(std::move(unit)) {}

void Progress::begin_window(double end_fraction) {
  begin_fraction_ = end_fraction_;
  end_fraction_ = end_fraction;
}

void Progress::update(size_t done, size_t total) {
  if (!enabled_) return;
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (seconds < kSilentSeconds || now - last_ < kRedrawInterval) return;
  last_ = now;
  const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
  const double fraction = begin_fraction_ + (end_fraction_ - begin_fraction_) * share;
  draw(before_ + done, end_fraction_ < 0 ? -1 : fraction, seconds);
}

void Progress::end_window(size_t done) { before_ += done; }

void Progress::draw(size_t done, double fraction, double seconds) {
  std::string text;
  if (fraction >= 0) {
    const auto filled = static_cast<size_t>(std::min(fraction, 1.0) * kBarColumns);
    text = fmt::format("[{}{}] {:3.0f} %  ", std::string(filled, '#'),
                       std::string(kBarColumns - filled, '.'), fraction * 100);
  }
  text += fmt::format("{} {}, {:.1f}/s", grouped(done), unit_, static_cast<double>(done) / seconds);
  // The first few batches say little about the rest.
  if (fraction > 0.02) text += ", " + remaining_time(seconds * (1 - fraction) / fraction);
  const size_t columns = terminal_columns(STDERR_FILENO);
  if (columns > 1 && text.size() >= columns) text.resize(columns - 1);
  write_to_stderr(fmt::format("\r{}\x1b[K", text));
  drawn_ = true;
}

void Progress::clear() {
  if (std::exchange(drawn_, false)) write_to_stderr("\r\x1b[K");
}

size_t terminal_columns(int descriptor) {
  winsize size = {};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  return columns ? std::strtoul(columns, nullptr, 10) : 0;
}

bool may_decorate(int descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return ::isatty(descriptor) == 1 && !(no_color && *no_color) &&
         !(term && std::string_view(term) == "dumb");
}

}  // namespace tamis::cli
