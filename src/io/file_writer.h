#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace tamis::io {

/// A file that appears whole or not at all: written under another name beside it, moved into place
/// by finish, removed by the destructor if that was not reached.
/// Errors: unavailable (cannot be created or written: says why), resource_exhausted (disk full).
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  /// Bytes that were appended before, anew.
  void overwrite(size_t offset, std::span<const std::byte> bytes);
  size_t size() const { return size_; }
  void finish();

 private:
  [[noreturn]] void fail_now(std::string_view doing) const;
  std::filesystem::path path_, unfinished_;
  int descriptor_ = -1;
  size_t size_ = 0;
};

}  // namespace tamis::io
