#include "io/json.h"

#include <simdjson.h>

#include <cstring>
#include <type_traits>

#include "base/fail.h"

namespace tamis::io {

namespace dom = simdjson::dom;

// simdjson's element is a pointer and an index, copied freely; JsonValue keeps its bytes.
struct JsonAccess {
  static_assert(sizeof(dom::element) == 16 && std::is_trivially_copyable_v<dom::element>);

  static dom::element element(const JsonValue& value) {
    dom::element out;
    std::memcpy(static_cast<void*>(&out), value.element_.data(), sizeof out);
    return out;
  }
  static void set(JsonValue& value, const dom::element& element, const std::string* where) {
    std::memcpy(value.element_.data(), static_cast<const void*>(&element), sizeof element);
    value.where_ = where;
  }
  static JsonValue make(const dom::element& element, const std::string* where) {
    JsonValue value;
    set(value, element, where);
    return value;
  }
  static const std::string& where(const JsonValue& value) { return *value.where_; }
};

namespace {

constexpr size_t kMaxDepth = 256;

std::string_view kind_name(JsonValue::Kind kind) {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "an integer", "a number",
                                         "a string", "an array",  "an object"};
  return kNames[static_cast<size_t>(kind)];
}

[[noreturn]] void wrong_kind(const JsonValue& value, std::string_view what,
                             JsonValue::Kind expected) {
  fail(ErrorCode::kDataLoss, "{}: {}: expected {}, got {}", JsonAccess::where(value), what,
       kind_name(expected), kind_name(value.kind()));
}

}  // namespace

JsonValue::Kind JsonValue::kind() const {
  switch (JsonAccess::element(*this).type()) {
    case dom::element_type::ARRAY:
      return Kind::kArray;
    case dom::element_type::OBJECT:
      return Kind::kObject;
    case dom::element_type::STRING:
      return Kind::kString;
    case dom::element_type::BOOL:
      return Kind::kBool;
    case dom::element_type::DOUBLE:
      return Kind::kDouble;
    case dom::element_type::INT64:
    case dom::element_type::UINT64:
      return Kind::kInteger;
    case dom::element_type::NULL_VALUE:
      break;
  }
  return Kind::kNull;
}

std::string_view JsonValue::string(std::string_view what) const {
  std::string_view out;
  if (JsonAccess::element(*this).get_string().get(out)) wrong_kind(*this, what, Kind::kString);
  return out;
}

int64_t JsonValue::integer(std::string_view what) const {
  int64_t out = 0;
  if (JsonAccess::element(*this).get_int64().get(out)) wrong_kind(*this, what, Kind::kInteger);
  return out;
}

double JsonValue::number(std::string_view what) const {
  double out = 0;
  if (JsonAccess::element(*this).get_double().get(out)) wrong_kind(*this, what, Kind::kDouble);
  return out;
}

bool JsonValue::boolean(std::string_view what) const {
  bool out = false;
  if (JsonAccess::element(*this).get_bool().get(out)) wrong_kind(*this, what, Kind::kBool);
  return out;
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  dom::object object;
  dom::element member;
  if (JsonAccess::element(*this).get_object().get(object)) return std::nullopt;
  if (object.at_key(key).get(member) || member.is_null()) return std::nullopt;
  return JsonAccess::make(member, where_);
}

JsonValue JsonValue::at(std::string_view key) const {
  if (!is_object()) wrong_kind(*this, key, Kind::kObject);
  const auto member = find(key);
  if (!member) fail(ErrorCode::kDataLoss, "{}: no \"{}\"", *where_, key);
  return *member;
}

std::string JsonValue::string_or(std::string_view key, std::string_view fallback) const {
  const auto member = find(key);
  return std::string(member ? member->string(key) : fallback);
}

int64_t JsonValue::integer_or(std::string_view key, int64_t fallback) const {
  const auto member = find(key);
  return member ? member->integer(key) : fallback;
}

double JsonValue::number_or(std::string_view key, double fallback) const {
  const auto member = find(key);
  return member ? member->number(key) : fallback;
}

bool JsonValue::boolean_or(std::string_view key, bool fallback) const {
  const auto member = find(key);
  return member ? member->boolean(key) : fallback;
}

std::vector<JsonValue> JsonValue::elements(std::string_view what) const {
  dom::array array;
  if (JsonAccess::element(*this).get_array().get(array)) wrong_kind(*this, what, Kind::kArray);
  std::vector<JsonValue> out;
  out.reserve(array.size());  // saturates at 2^24 - 1, a hint only
  for (dom::element element : array) out.push_back(JsonAccess::make(element, where_));
  return out;
}

std::vector<std::pair<std::string_view, JsonValue>> JsonValue::members(
    std::string_view what) const {
  dom::object object;
  if (JsonAccess::element(*this).get_object().get(object)) wrong_kind(*this, what, Kind::kObject);
  std::vector<std::pair<std::string_view, JsonValue>> out;
  out.reserve(object.size());
  for (auto [key, element] : object) out.emplace_back(key, JsonAccess::make(element, where_));
  return out;
}

struct JsonDocument::Impl {
  dom::parser parser;
  dom::element root;
  std::string where;
};

JsonDocument::JsonDocument(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonDocument JsonDocument::parse(std::string_view text, std::string where) {
  auto impl = std::make_unique<Impl>();
  impl->where = std::move(where);
  const simdjson::padded_string padded(text);
  auto error = impl->parser.allocate(text.size() + 1, kMaxDepth);
  if (!error) error = impl->parser.parse(padded).get(impl->root);
  if (error) {
    fail(ErrorCode::kDataLoss, "{}: not valid JSON: {}", impl->where,
         simdjson::error_message(error));
  }
  return JsonDocument(std::move(impl));
}

JsonValue JsonDocument::root() const { return JsonAccess::make(impl_->root, &impl_->where); }

}  // namespace tamis::io
