#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tamis::io {

/// A file mapped read-only into memory. Errors of open: not_found, unavailable (cannot be read).
class FileMap {
 public:
  static FileMap open(const std::filesystem::path& path);
  FileMap(FileMap&& other) noexcept;
  FileMap& operator=(FileMap&& other) noexcept;
  ~FileMap();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

  /// Copies a part of the file by reading it, so that none of it becomes resident here. Errors:
  /// data_loss (the file has been cut since it was opened), unavailable (cannot be read).
  void read(size_t offset, std::span<std::byte> to) const;

  /// Gives the resident pages of `range` (a part of bytes()) back to the system; they are read
  /// anew from the file when touched again.
  void drop_pages(std::span<const std::byte> range) const;

 private:
  FileMap() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int descriptor_ = -1;
};

/// Whole small file (a config) as text. Errors: as FileMap::open; data_loss above max_bytes.
std::string read_text_file(const std::filesystem::path& path, size_t max_bytes = 64 << 20);

}  // namespace tamis::io
