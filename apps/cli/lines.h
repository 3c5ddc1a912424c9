#pragma once

// Reading text by lines, from a file or an endless pipe.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tamis::cli {

/// Lines end with LF or CRLF; a last line without one counts; a byte order mark at the start is
/// dropped. Bytes are otherwise as they are (NUL and ill-formed UTF-8 included).
/// Errors: not_found, unavailable; data_loss for a line over kMaxLineBytes.
class LineReader {
 public:
  static constexpr size_t kMaxLineBytes = size_t{1} << 30;

  /// "-" is standard input.
  static LineReader open(const std::string& path);
  LineReader(LineReader&& other) noexcept;
  LineReader& operator=(LineReader&&) = delete;
  ~LineReader();

  /// Waits for the next line; empty at the end. The view is valid until the next call of any
  /// method.
  std::optional<std::string_view> next();

  /// Whether next() would answer at once: a whole line is here, or can be read without waiting, or
  /// the input has ended.
  bool ready();

  size_t line_number() const { return line_number_; }  ///< of the line last read, from 1
  const std::string& name() const { return name_; }    ///< "standard input" or the path
  std::string where() const;                           ///< "pairs.jsonl:7"

  /// Share of a regular file that has been read, 0 to 1; negative where the size is unknown.
  double fraction() const;

 private:
  LineReader(int descriptor, std::string name);
  bool fill();  // false at the end

  int descriptor_;
  std::string name_;
  std::string buffer_;
  size_t at_ = 0;        // start of the next line in buffer_
  size_t searched_ = 0;  // no LF before it
  bool ended_ = false;
  size_t line_number_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t size_bytes_ = 0;  // 0: unknown
};

/// Calls f(line, reader) for each line of a file that is not blank.
/// Errors: as LineReader; data_loss (there is none).
void for_each_line(const std::string& path,
                   const std::function<void(std::string_view, const LineReader&)>& f);

/// data_loss: the file, the line, what was expected there and what came.
[[noreturn]] void bad_line(const LineReader& reader, std::string_view expected,
                           std::string_view got);

}  // namespace tamis::cli
