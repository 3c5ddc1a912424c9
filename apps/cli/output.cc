#include "output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "tamis/error.h"

namespace tamis::cli {
namespace {

// The one thing that a signal handler must know: which temporary file to remove. Written before the
// flag is raised and left alone while it is up.
char g_temporary[4096];
volatile std::sig_atomic_t g_has_temporary = 0;

extern "C" void remove_temporary_and_die(int signal) {
  if (g_has_temporary) ::unlink(g_temporary);
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

void remove_on_signal(const std::string& path) {
  if (path.size() >= sizeof g_temporary) return;
  std::memcpy(g_temporary, path.c_str(), path.size() + 1);
  g_has_temporary = 1;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGXFSZ}) {
    // What the parent has set to be ignored (nohup) stays ignored.
    if (std::signal(signal, remove_temporary_and_die) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

std::string words(int error) {
  const char* text = strerrordesc_np(error);
  return text ? text : fmt::format("error {}", error);
}

[[noreturn]] void cannot_create(const std::string& path, int error) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  throw Error(
      missing ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
      fmt::format("{}: cannot be written: {}", path, missing ? "no such folder" : words(error)));
}

}  // namespace

Output Output::open(const std::string& path) {
  if (path.empty() || path == "-") return Output(STDOUT_FILENO, "standard output");
  std::error_code error;
  // Beside what a symbolic link points to, so that the link survives.
  const auto target = std::filesystem::weakly_canonical(path, error);
  struct stat status = {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (error || (exists && !S_ISREG(status.st_mode))) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) cannot_create(path, errno);
    return Output(fd, path);
  }
  if (exists && ::access(path.c_str(), W_OK) != 0) cannot_create(path, errno);
  auto temporary = target;
  temporary.replace_filename(fmt::format(".{}.tamis-{}", target.filename().string(), ::getpid()));
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) cannot_create(path, errno);
  remove_on_signal(temporary.string());
  if (exists) ::fchmod(fd, status.st_mode & 07777);
  Output out(fd, path);
  out.target_ = target;
  out.temporary_ = std::move(temporary);
  return out;
}

Output::Output(Output&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      buffer_(std::move(other.buffer_)) {}

Output::~Output() {
  if (descriptor_ > STDERR_FILENO) ::close(descriptor_);
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
    g_has_temporary = 0;
  }
}

void Output::cannot_write(int error) const {
  if (error == EPIPE) throw ClosedPipe();
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
              fmt::format("cannot write {}: {}", name_, words(error)));
}

void Output::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // a terminal that another process made non-blocking
      pollfd ready = {descriptor_, POLLOUT, 0};
      ::poll(&ready, 1, -1);
      continue;
    }
    if (written < 0) cannot_write(errno);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  buffer_.clear();
}

void Output::finish() {
  flush();
  if (!temporary_.empty() && ::fsync(descriptor_) != 0) cannot_write(errno);
  // Network file systems tell of a full disk only here.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) cannot_write(errno);
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) cannot_create(name_, errno);
  temporary_.clear();
  g_has_temporary = 0;
}

bool Output::is_terminal() const { return ::isatty(descriptor_) == 1; }

void hold_standard_descriptors() {
  // Opened the wrong way round, so that using them is still the error that it was.
  const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
  for (int fd = 0; fd < 3; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    if (::open("/dev/null", modes[fd]) != fd) return;
  }
}

}  // namespace tamis::cli
