#include "io/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/fail.h"

namespace tamis::io {

namespace {

// strerror is not thread-safe; glibc's name table is, and its words are the same.
std::string error_words(int error) {
  const char* words = strerrordesc_np(error);
  return words ? words : fmt::format("error {}", error);
}

[[noreturn]] void cannot_open(const std::filesystem::path& path, int error) {
  if (error == ENOENT || error == ENOTDIR) {
    fail(ErrorCode::kNotFound, "{}: no such file", path.string());
  }
  fail(ErrorCode::kUnavailable, "{}: cannot be read: {}", path.string(), error_words(error));
}

class Descriptor {
 public:
  // O_NONBLOCK: opening a FIFO must fail below as "not a regular file", not wait for a writer.
  explicit Descriptor(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) cannot_open(path, errno);
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct stat regular_file_status(const Descriptor& file, const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) cannot_open(path, errno);
  if (S_ISDIR(status.st_mode)) {
    fail(ErrorCode::kUnavailable, "{}: cannot be read: expected a file, got a directory",
         path.string());
  }
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorCode::kUnavailable, "{}: cannot be read: not a regular file", path.string());
  }
  return status;
}

}  // namespace

FileMap FileMap::open(const std::filesystem::path& path) {
  Descriptor file(path);
  const auto size = static_cast<size_t>(regular_file_status(file, path).st_size);
  FileMap map;
  map.path_ = path;
  if (size == 0) return map;  // mmap refuses a length of 0
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) {
    fail(ErrorCode::kUnavailable, "{}: cannot map {} bytes: {}", path.string(), size,
         error_words(errno));
  }
  map.data_ = static_cast<const std::byte*>(data);
  map.size_ = size;
  map.descriptor_ = file.release();
  return map;
}

FileMap::FileMap(FileMap&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

FileMap& FileMap::operator=(FileMap&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileMap::~FileMap() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileMap::read(size_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t got = ::pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) cannot_open(path_, errno);
    if (got == 0) {
      fail(ErrorCode::kDataLoss, "{}: ends at byte {}, expected {}: it was cut while in use",
           path_.string(), offset, size_);
    }
    offset += static_cast<size_t>(got);
    to = to.subspan(static_cast<size_t>(got));
  }
}

void FileMap::drop_pages(std::span<const std::byte> range) const {
  if (range.empty() || !data_) return;
  // Only whole pages inside the range: its edges may share a page with a neighbour still in use.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto base = reinterpret_cast<uintptr_t>(data_);
  const auto first = std::max(reinterpret_cast<uintptr_t>(range.data()), base);
  const auto last =
      std::min(reinterpret_cast<uintptr_t>(range.data() + range.size()), base + size_);
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = last == base + size_ ? last : last / page * page;
  // A refusal (say, of a locked mapping) costs memory only, so it is not an error.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, size_t max_bytes) {
  const Descriptor file(path);
  const auto size = static_cast<uint64_t>(regular_file_status(file, path).st_size);
  if (size > max_bytes) {
    fail(ErrorCode::kDataLoss, "{}: expected a text file of at most {} bytes, got {}",
         path.string(), max_bytes, size);
  }
  std::string text(size, '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) cannot_open(path, errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  text.resize(filled);
  return text;
}

}  // namespace tamis::io
