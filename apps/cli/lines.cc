#include "lines.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "tamis/error.h"

namespace tamis::cli {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr size_t kReadBytes = 64 << 10;

[[noreturn]] void cannot_read(const std::string& name, int error) {
  if (error == ENOENT || error == ENOTDIR) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: no such file", name));
  }
  const char* words = strerrordesc_np(error);
  throw Error(ErrorCode::kUnavailable,
              fmt::format("{}: cannot be read: {}", name, words ? words : "unknown error"));
}

bool readable_now(int descriptor) {
  pollfd state = {descriptor, POLLIN, 0};
  return ::poll(&state, 1, 0) != 0;  // errors and hang-ups are answered by read()
}

}  // namespace

LineReader LineReader::open(const std::string& path) {
  if (path == "-") return LineReader(STDIN_FILENO, "standard input");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) cannot_read(path, errno);
  return LineReader(fd, path);
}

LineReader::LineReader(int descriptor, std::string name)
    : descriptor_(descriptor), name_(std::move(name)) {
  struct stat status = {};
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) {
    size_bytes_ = static_cast<uint64_t>(status.st_size);
  }
}

LineReader::LineReader(LineReader&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)),
      buffer_(std::move(other.buffer_)),
      at_(other.at_),
      searched_(other.searched_),
      ended_(other.ended_),
      line_number_(other.line_number_),
      bytes_read_(other.bytes_read_),
      size_bytes_(other.size_bytes_) {}

LineReader::~LineReader() {
  if (descriptor_ > STDERR_FILENO) ::close(descriptor_);
}

bool LineReader::fill() {
  if (ended_) return false;
  // Lines already given out make room; moving only when half is free keeps this linear.
  if (at_ > buffer_.size() / 2) {
    buffer_.erase(0, at_);
    searched_ -= at_;
    at_ = 0;
  }
  if (buffer_.size() - at_ > kMaxLineBytes) {
    throw Error(ErrorCode::kDataLoss, fmt::format("{}:{}: expected a line of at most {} bytes",
                                                  name_, line_number_ + 1, kMaxLineBytes));
  }
  const size_t old_size = buffer_.size();
  // A long line doubles the request, so that its bytes are not zeroed and copied again and again.
  const size_t wanted = std::max(kReadBytes, old_size - at_);
  buffer_.resize(old_size + wanted);
  ssize_t got;
  while ((got = ::read(descriptor_, buffer_.data() + old_size, wanted)) < 0) {
    if (errno == EAGAIN) {
      pollfd state = {descriptor_, POLLIN, 0};
      ::poll(&state, 1, -1);
    } else if (errno != EINTR) {
      cannot_read(name_, errno);
    }
  }
  buffer_.resize(old_size + static_cast<size_t>(got));
  bytes_read_ += static_cast<uint64_t>(got);
  ended_ = got == 0;
  return !ended_;
}

std::optional<std::string_view> LineReader::next() {
  size_t end;
  while ((end = buffer_.find('\n', searched_)) == std::string::npos) {
    searched_ = buffer_.size();
    if (!fill()) break;
  }
  const bool whole = end != std::string::npos;
  if (!whole) end = buffer_.size();
  if (!whole && at_ == end) return std::nullopt;
  std::string_view line = std::string_view(buffer_).substr(at_, end - at_);
  at_ = searched_ = end + (whole ? 1 : 0);
  ++line_number_;
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line_number_ == 1 && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  return line;
}

bool LineReader::ready() {
  while (buffer_.find('\n', searched_) == std::string::npos) {
    searched_ = buffer_.size();
    if (ended_) return true;
    if (!readable_now(descriptor_)) return false;
    fill();
  }
  return true;
}

std::string LineReader::where() const { return fmt::format("{}:{}", name_, line_number_); }

double LineReader::fraction() const {
  if (size_bytes_ == 0) return -1;
  const auto consumed = static_cast<double>(bytes_read_ - (buffer_.size() - at_));
  return std::min(1.0, consumed / static_cast<double>(size_bytes_));
}

void for_each_line(const std::string& path,
                   const std::function<void(std::string_view, const LineReader&)>& f) {
  LineReader reader = LineReader::open(path);
  size_t lines = 0;
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t\r") == std::string_view::npos) continue;
    ++lines;
    f(*line, reader);
  }
  if (lines == 0) throw Error(ErrorCode::kDataLoss, fmt::format("{}: has no lines", reader.name()));
}

void bad_line(const LineReader& reader, std::string_view expected, std::string_view got) {
  throw Error(ErrorCode::kDataLoss, fmt::format("{}: expected {}, got \"{}\"", reader.where(),
                                                expected, got.substr(0, 80)));
}

}  // namespace tamis::cli
