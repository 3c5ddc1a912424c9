#pragma once

// Reading JSON. The parser (simdjson) is known to json.cc alone.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tamis::io {

/// One value of a parsed document: a small handle, valid while its JsonDocument lives.
/// Thread rule: const calls may run at the same time.
class JsonValue {
 public:
  enum class Kind { kNull, kBool, kInteger, kDouble, kString, kArray, kObject };

  Kind kind() const;
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_array() const { return kind() == Kind::kArray; }
  bool is_object() const { return kind() == Kind::kObject; }
  bool is_number() const { return kind() == Kind::kInteger || kind() == Kind::kDouble; }
  bool is_bool() const { return kind() == Kind::kBool; }

  // Each throws data_loss "<document>: <what> is not a string" when the value is of another kind.
  std::string_view string(std::string_view what) const;
  int64_t integer(std::string_view what) const;
  double number(std::string_view what) const;  ///< integers too
  bool boolean(std::string_view what) const;

  /// Member of an object. find: empty if absent, null, or if this is not an object.
  std::optional<JsonValue> find(std::string_view key) const;
  /// Member that must be there; throws data_loss naming the key.
  JsonValue at(std::string_view key) const;

  // Defaults apply where the member is absent or null; a wrong kind is still an error.
  std::string string_or(std::string_view key, std::string_view fallback) const;
  int64_t integer_or(std::string_view key, int64_t fallback) const;
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;

  /// Elements of an array, in order (throws data_loss if it is none).
  std::vector<JsonValue> elements(std::string_view what) const;
  /// Members of an object, in order of the document (throws data_loss if it is none).
  std::vector<std::pair<std::string_view, JsonValue>> members(std::string_view what) const;

 private:
  friend class JsonDocument;
  friend struct JsonAccess;
  alignas(8) std::array<std::byte, 16> element_;
  const std::string* where_;
};

/// Owns a parsed document. `where` names it in messages ("config.json", "line 7").
/// Errors: data_loss with the parser's words and the document's name. Nesting over 256 is refused.
class JsonDocument {
 public:
  static JsonDocument parse(std::string_view text, std::string where);
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonValue root() const;

 private:
  struct Impl;
  explicit JsonDocument(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis::io
