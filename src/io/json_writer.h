#pragma once

// Writing JSON (RFC 8259), compact or indented. Numbers are the shortest text that reads back as
// the same value; the output is valid UTF-8 whatever the input was.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tamis::io {

/// Appends JSON to a string that the caller owns and may flush between values. Commas, colons and
/// line breaks are the writer's; that calls nest properly is the caller's.
/// Thread rule: one thread at a time.
class JsonWriter {
 public:
  /// indent = 0: on one line, without a space; else that many spaces a level.
  explicit JsonWriter(std::string& out, int indent = 0) : out_(out), indent_(indent) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }

  /// Before each member's value. Duplicate keys are not detected.
  JsonWriter& key(std::string_view name);

  /// Ill-formed UTF-8 becomes U+FFFD.
  JsonWriter& string(std::string_view text);
  JsonWriter& boolean(bool flag);
  JsonWriter& null();
  JsonWriter& integer(int64_t number);
  JsonWriter& unsigned_integer(uint64_t number);
  /// float and double differ in what "shortest" is: 0.1f is 0.1, not 0.10000000149011612.
  /// Errors: internal, for NaN and infinities, which JSON has no word for.
  JsonWriter& number(float number);
  JsonWriter& number(double number);

  /// An array on one line, whatever the indent.
  JsonWriter& numbers(std::span<const float> values);
  JsonWriter& integers(std::span<const int32_t> values);

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  template <class Append>
  JsonWriter& value(const Append& append);
  void before_value();
  void break_line();

  std::string& out_;
  int indent_;
  int depth_ = 0;
  bool comma_ = false;  // a value stands before on this level
  bool after_key_ = false;
};

class JsonValue;
/// A parsed value as it was.
void write_value(const JsonValue& value, JsonWriter& json);

/// Appends `text` as a JSON string, quotes included.
void append_json_string(std::string& out, std::string_view text);

}  // namespace tamis::io
