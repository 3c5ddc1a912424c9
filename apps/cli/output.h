#pragma once

// Where results go: standard output, or a file that appears only when it is complete.

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace tamis::cli {

/// Thrown when the reader of standard output has gone (`tamis ... | head`): nobody is left to tell.
struct ClosedPipe {};

/// Buffers and checks every write.
/// Errors of open: not_found (no such folder), unavailable (not writable). Of the others:
/// resource_exhausted (disk full), unavailable; ClosedPipe.
class Output {
 public:
  /// "" or "-" is standard output. A regular file is written under another name beside it and
  /// renamed by finish(); until then, and after an error or a signal, the old file stays as it was.
  /// Devices and pipes are written directly.
  static Output open(const std::string& path);
  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;
  ~Output();

  /// The caller may append here and flush from time to time.
  std::string& buffer() { return buffer_; }
  void flush();
  /// Flush, check that all of it has been stored, give the file its name. Once, at the end.
  void finish();

  bool is_terminal() const;
  int descriptor() const { return descriptor_; }

 private:
  Output(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
  [[noreturn]] void cannot_write(int error) const;

  int descriptor_;
  std::string name_;                 // for messages
  std::filesystem::path target_;     // empty: no renaming
  std::filesystem::path temporary_;  // empty: none, or already renamed
  std::string buffer_;
};

/// Call first in main: a closed descriptor 0, 1 or 2 would be given to the next file that is
/// opened.
void hold_standard_descriptors();

}  // namespace tamis::cli
