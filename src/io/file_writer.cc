#include "io/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fail.h"

namespace tamis::io {

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)), unfinished_(path_) {
  // A name that nobody else has: two that write the same file do not write into each other's.
  for (int i = 0; descriptor_ < 0; ++i) {
    unfinished_ = path_.string() + fmt::format(".{}.{}.part", getpid(), i);
    descriptor_ = ::open(unfinished_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor_ < 0 && errno != EEXIST) fail_now("create");
  }
}

FileWriter::~FileWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(unfinished_.c_str());
}

void FileWriter::append(std::span<const std::byte> bytes) {
  size_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_now("write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void FileWriter::overwrite(size_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_now("write");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<size_t>(n);
  }
}

void FileWriter::finish() {
  // Before it gets its name: after a crash there is no file with that name and without its bytes.
  if (::fsync(descriptor_) != 0) fail_now("write");
  if (::rename(unfinished_.c_str(), path_.c_str()) != 0) fail_now("move into place");
  ::close(descriptor_);
  descriptor_ = -1;
}

void FileWriter::fail_now(std::string_view doing) const {
  const int error = errno;
  fail(error == ENOSPC || error == EDQUOT || error == EFBIG ? ErrorCode::kResourceExhausted
                                                            : ErrorCode::kUnavailable,
       "{}: cannot {} it: {}", path_.string(), doing, std::strerror(error));
}

}  // namespace tamis::io
