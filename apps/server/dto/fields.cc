#include "dto/fields.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include <fmt/format.h>

#include "tamis/error.h"

namespace tamis::server {

using io::JsonValue;

namespace {

std::string_view kind_name(JsonValue::Kind kind) {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "an integer", "a number",
                                         "a string", "an array",  "an object"};
  return kNames[static_cast<size_t>(kind)];
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return out;
}

/// "application/json" of "Application/JSON; charset=utf-8"
std::string media_type(const Request& request) {
  const std::string_view whole = request.headers.get("content-type");
  const std::string_view type = whole.substr(0, whole.find(';'));
  const size_t end = type.find_last_not_of(" \t");
  return lower(type.substr(0, end == std::string_view::npos ? 0 : end + 1));
}

[[noreturn]] void refuse_type(const std::string& type) {
  throw HttpError{
      415, "unsupported_media_type",
      fmt::format("content-type: expected application/json, got {}", type.empty() ? "none" : type)};
}

io::JsonDocument parse(const Request& request) {
  const std::string type = media_type(request);
  if (type == "text/html" || type.starts_with("multipart/") || type.starts_with("image/")) {
    refuse_type(type);
  }
  if (request.body.empty()) {
    throw HttpError{400, "invalid_json", "the body: expected a JSON object, got nothing"};
  }
  try {
    return io::JsonDocument::parse(request.body, "the body");
  } catch (const Error& error) {
    throw HttpError{400, "invalid_json", error.what()};
  }
}

}  // namespace

void refuse(std::string where, std::string_view expected, std::string_view got) {
  HttpError error;
  error.message =
      fmt::format("{}: expected {}, got {}", where.empty() ? "the body" : where, expected, got);
  error.field = std::move(where);
  throw error;
}

void refuse(std::string where, std::string_view expected, const JsonValue& got) {
  refuse(std::move(where), expected, kind_name(got.kind()));
}

void refuse_empty(std::string where) {
  HttpError error;
  error.type = "empty";
  error.message = fmt::format("{}: expected at least one, got an empty list", where);
  error.field = std::move(where);
  throw error;
}

std::string element(std::string_view where, size_t i) { return fmt::format("{}[{}]", where, i); }

std::string_view text_of(const JsonValue& value, std::string where) {
  if (!value.is_string()) refuse(std::move(where), "a string", value);
  return value.string(where);
}

int64_t integer_of(const JsonValue& value, std::string where, int64_t least, int64_t most) {
  const std::string expected = fmt::format("an integer from {} to {}", least, most);
  if (value.kind() != JsonValue::Kind::kInteger) refuse(std::move(where), expected, value);
  // Through a double: integers above 2^63 are none of int64_t.
  const double near = value.number(where);
  if (near < static_cast<double>(least) || near > static_cast<double>(most)) {
    refuse(std::move(where), expected, fmt::format("{}", near));
  }
  return std::clamp(value.integer(where), least, most);
}

std::vector<std::string_view> texts_of(const JsonValue& array, std::string_view where) {
  std::vector<std::string_view> out;
  for (const JsonValue& value : array.elements(where)) {
    if (!value.is_string()) refuse(element(where, out.size()), "a string", value);
    out.push_back(value.string(where));
  }
  if (out.empty()) refuse_empty(std::string(where));
  return out;
}

Fields::Fields(const JsonValue& object, std::string where) : where_(std::move(where)) {
  if (!object.is_object()) refuse(where_, "an object", object);
  members_ = object.members(where_);
  const auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(members_.begin(), members_.end(), by_key);
  const auto twice =
      std::adjacent_find(members_.begin(), members_.end(),
                         [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != members_.end()) refuse(path(twice->first.substr(0, 40)), "one such member", "two");
}

std::string Fields::path(std::string_view key) const {
  return where_.empty() ? std::string(key) : fmt::format("{}.{}", where_, key);
}

std::optional<JsonValue> Fields::find(std::string_view key) const {
  const auto at = std::lower_bound(
      members_.begin(), members_.end(), key,
      [](const auto& member, std::string_view wanted) { return member.first < wanted; });
  if (at == members_.end() || at->first != key || at->second.is_null()) return std::nullopt;
  return at->second;
}

JsonValue Fields::at(std::string_view key, std::string_view expected) const {
  const auto value = find(key);
  if (!value) refuse(path(key), expected, "nothing");
  return *value;
}

std::string_view Fields::text(std::string_view key) const {
  return text_of(at(key, "a string"), path(key));
}

std::string_view Fields::text_or(std::string_view key, std::string_view fallback) const {
  const auto value = find(key);
  return value ? text_of(*value, path(key)) : fallback;
}

bool Fields::flag_or(std::string_view key, bool fallback) const {
  const auto value = find(key);
  if (!value) return fallback;
  if (!value->is_bool()) refuse(path(key), "true or false", *value);
  return value->boolean(key);
}

std::optional<int64_t> Fields::integer_if(std::string_view key, int64_t least, int64_t most) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  return integer_of(*value, path(key), least, most);
}

size_t Fields::count(std::string_view key, int64_t least) const {
  return static_cast<size_t>(integer_if(key, least, kMaxCount).value_or(0));
}

double Fields::number_or(std::string_view key, double fallback) const {
  const auto value = find(key);
  if (!value) return fallback;
  if (!value->is_number()) refuse(path(key), "a number", *value);
  return value->number(key);
}

std::string_view Fields::choice(std::string_view key,
                                std::initializer_list<std::string_view> choices,
                                std::string_view fallback) const {
  const auto value = find(key);
  if (!value) return fallback;
  const std::string_view got = text_of(*value, path(key));
  for (const std::string_view one : choices) {
    if (lower(one) == lower(got)) return one;
  }
  refuse(path(key), fmt::format("one of {}", fmt::join(choices, ", ")),
         fmt::format("\"{}\"", got.substr(0, 40)));
}

std::vector<JsonValue> Fields::list(std::string_view key, std::string_view expected) const {
  const JsonValue value = at(key, expected);
  if (!value.is_array()) refuse(path(key), expected, value);
  std::vector<JsonValue> out = value.elements(key);
  if (out.empty()) refuse_empty(path(key));
  return out;
}

std::vector<std::string_view> Fields::texts(std::string_view key) const {
  constexpr std::string_view kExpected = "an array of strings";
  const JsonValue value = at(key, kExpected);
  if (!value.is_array()) refuse(path(key), kExpected, value);
  return texts_of(value, path(key));
}

Fields Fields::object(std::string_view key) const {
  return Fields(at(key, "an object"), path(key));
}

namespace {

std::vector<int32_t> one_sequence(const std::vector<JsonValue>& values, std::string_view where) {
  std::vector<int32_t> out;
  out.reserve(values.size());
  for (const JsonValue& value : values) {
    // The name of an element is made only where it is needed: there may be many.
    if (value.kind() != JsonValue::Kind::kInteger) {
      refuse(element(where, out.size()), "a token id", value);
    }
    out.push_back(
        static_cast<int32_t>(integer_of(value, std::string(where), 0, Fields::kMaxCount)));
  }
  if (out.empty()) refuse_empty(std::string(where));
  return out;
}

}  // namespace

std::vector<std::vector<int32_t>> read_ids(const Fields& fields, std::string_view key) {
  const std::vector<JsonValue> values = fields.list(key, "an array of token ids");
  const std::string where = fields.path(key);
  if (!values.front().is_array()) return {one_sequence(values, where)};
  std::vector<std::vector<int32_t>> out;
  for (const JsonValue& one : values) {
    const std::string at = element(where, out.size());
    if (!one.is_array()) refuse(at, "an array of token ids", one);
    out.push_back(one_sequence(one.elements(at), at));
  }
  return out;
}

Body::Body(const Request& request) : document_(parse(request)), fields_(document_.root()) {}

void require_json_type(const Request& request) {
  const std::string type = media_type(request);
  if (type != "application/json") refuse_type(type);
}

}  // namespace tamis::server
