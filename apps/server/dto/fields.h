#pragma once

// Reading a request's body: strict about what is there, and every message says which field, what
// was expected and what came. null counts as absent, as several clients send it for every option
// that is not set.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dto/http_error.h"
#include "io/json.h"
#include "transport/http.h"

namespace tamis::server {

/// Ends the request with 400: "top_n: expected an integer, got a string".
[[noreturn]] void refuse(std::string where, std::string_view expected, std::string_view got);
[[noreturn]] void refuse(std::string where, std::string_view expected, const io::JsonValue& got);
/// Ends it with 400: an empty list where at least one is needed.
[[noreturn]] void refuse_empty(std::string where);

/// The members of one object. Errors, of all functions: HttpError 400.
class Fields {
 public:
  static constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();

  /// `where` is "" of the body, else "documents[2]". Errors: no object, or a member twice.
  explicit Fields(const io::JsonValue& object, std::string where = {});

  /// "documents[2].text"
  std::string path(std::string_view key) const;
  std::optional<io::JsonValue> find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key).has_value(); }
  io::JsonValue at(std::string_view key, std::string_view expected) const;

  std::string_view text(std::string_view key) const;
  std::string_view text_or(std::string_view key, std::string_view fallback) const;
  bool flag_or(std::string_view key, bool fallback) const;
  std::optional<int64_t> integer_if(std::string_view key, int64_t least, int64_t most) const;
  /// Of what is counted; 0 where it is absent.
  size_t count(std::string_view key, int64_t least = 0) const;
  double number_or(std::string_view key, double fallback) const;
  /// A string out of a short list, in any case; as the list writes it.
  std::string_view choice(std::string_view key, std::initializer_list<std::string_view> choices,
                          std::string_view fallback) const;
  /// An array that has something in it, its elements named.
  std::vector<io::JsonValue> list(std::string_view key, std::string_view expected) const;
  std::vector<std::string_view> texts(std::string_view key) const;
  Fields object(std::string_view key) const;

 private:
  std::string where_;
  std::vector<std::pair<std::string_view, io::JsonValue>> members_;  // sorted by key
};

/// "inputs[3]"
std::string element(std::string_view where, size_t i);
std::string_view text_of(const io::JsonValue& value, std::string where);
int64_t integer_of(const io::JsonValue& value, std::string where, int64_t least, int64_t most);
/// Each a string.
std::vector<std::string_view> texts_of(const io::JsonValue& array, std::string_view where);

/// [int] or [[int]] of the field: token ids.
std::vector<std::vector<int32_t>> read_ids(const Fields& fields, std::string_view key);

/// A body that is a JSON object; what is read of it are views of it. Errors: HttpError 400 (not
/// JSON, not UTF-8, nested too deep), 415 (of another content type: no type at all, and those that
/// command line tools send by themselves, are let pass).
class Body {
 public:
  explicit Body(const Request& request);
  const Fields* operator->() const { return &fields_; }
  const Fields& operator*() const { return fields_; }

 private:
  io::JsonDocument document_;
  Fields fields_;
};

/// 415 unless the body is declared as application/json: a page of another site cannot send that
/// without asking first, so it cannot use the operator's browser to change anything.
void require_json_type(const Request& request);

}  // namespace tamis::server
