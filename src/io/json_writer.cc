#include "io/json_writer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/fail.h"
#include "io/json.h"
#include "io/utf8.h"

namespace tamis::io {
namespace {

template <class Number>
void append_number(std::string& out, Number value) {
  // The longest shortest form is a negative double with 17 digits and exponent: 24 characters.
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out.append(text.data(), end);
}

template <class Float>
void append_finite(std::string& out, Float value) {
  if (!std::isfinite(value)) fail(ErrorCode::kInternal, "JSON cannot hold the number {}", value);
  append_number(out, value);
}

template <class Number>
void append_array(std::string& out, std::span<const Number> values) {
  out += '[';
  for (const Number& value : values) {
    if (&value != values.data()) out += ',';
    if constexpr (std::is_floating_point_v<Number>)
      append_finite(out, value);
    else
      append_number(out, value);
  }
  out += ']';
}

void append_escaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\u00";
  out += kHex[static_cast<unsigned char>(c) >> 4];
  out += kHex[static_cast<unsigned char>(c) & 15];
}

bool needs_escape(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\' || c == 0x7F;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t kept = 0;  // start of the run that is copied as it is
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    if (!step.well_formed || needs_escape(text[at])) {
      out.append(text, kept, at - kept);
      if (step.well_formed)
        append_escaped(out, text[at]);
      else
        append_utf8(out, kReplacementCharacter);
      kept = at + step.bytes;
    }
    at += step.bytes;
  }
  out.append(text, kept, text.size() - kept);
  out += '"';
}

void JsonWriter::break_line() {
  if (indent_ == 0) return;
  out_ += '\n';
  out_.append(static_cast<size_t>(indent_ * depth_), ' ');
}

void JsonWriter::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (comma_) out_ += ',';
  if (depth_ > 0) break_line();
}

template <class Append>
JsonWriter& JsonWriter::value(const Append& append) {
  before_value();
  append();
  comma_ = depth_ > 0;
  return *this;
}

JsonWriter& JsonWriter::open(char bracket) {
  before_value();
  out_ += bracket;
  ++depth_;
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  --depth_;
  if (comma_) break_line();  // nothing between the brackets of an empty one
  out_ += bracket;
  comma_ = depth_ > 0;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  string(name);
  out_ += indent_ == 0 ? ":" : ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::string(std::string_view text) {
  return value([&] { append_json_string(out_, text); });
}

JsonWriter& JsonWriter::boolean(bool flag) {
  return value([&] { out_ += flag ? "true" : "false"; });
}

JsonWriter& JsonWriter::null() {
  return value([&] { out_ += "null"; });
}

JsonWriter& JsonWriter::integer(int64_t number) {
  return value([&] { append_number(out_, number); });
}

JsonWriter& JsonWriter::unsigned_integer(uint64_t number) {
  return value([&] { append_number(out_, number); });
}

JsonWriter& JsonWriter::number(float number) {
  return value([&] { append_finite(out_, number); });
}

JsonWriter& JsonWriter::number(double number) {
  return value([&] { append_finite(out_, number); });
}

JsonWriter& JsonWriter::numbers(std::span<const float> values) {
  return value([&] { append_array(out_, values); });
}

JsonWriter& JsonWriter::integers(std::span<const int32_t> values) {
  return value([&] { append_array(out_, values); });
}

void write_value(const JsonValue& value, JsonWriter& json) {
  using Kind = JsonValue::Kind;
  switch (value.kind()) {
    case Kind::kNull:
      json.null();
      break;
    case Kind::kBool:
      json.boolean(value.boolean(""));
      break;
    case Kind::kInteger:
      json.integer(value.integer(""));
      break;
    case Kind::kDouble:
      json.number(value.number(""));
      break;
    case Kind::kString:
      json.string(value.string(""));
      break;
    case Kind::kArray:
      json.begin_array();
      for (const JsonValue& element : value.elements("")) write_value(element, json);
      json.end_array();
      break;
    case Kind::kObject:
      json.begin_object();
      for (const auto& [key, member] : value.members("")) {
        json.key(key);
        write_value(member, json);
      }
      json.end_object();
      break;
  }
}

}  // namespace tamis::io
