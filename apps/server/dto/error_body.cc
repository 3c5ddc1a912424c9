#include "dto/error_body.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "io/json_writer.h"

namespace tamis::server {
namespace {

using io::JsonWriter;

std::string_view openai_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string_view llama_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

/// TEI's own words, which are capitalised whatever its documentation says.
std::string_view tei_type(const HttpError& error) {
  if (error.type == "empty") return "Empty";
  if (error.type == "wrong_model" || error.type == "inference") return "Backend";
  switch (error.status) {
    case 429:
      return "Overloaded";
    case 503:
      return "Unhealthy";
    default:
      return error.status >= 500 ? "Backend" : "Validation";
  }
}

/// 422 where TEI checks an input, and 424 where its model fails or cannot do the task.
int tei_status(const HttpError& error) {
  if (error.type == "wrong_model" || error.type == "inference") return 424;
  return error.status == 400 && error.type == "invalid_argument" ? 422 : error.status;
}

int status_of(Dialect dialect, const HttpError& error) {
  if (dialect == Dialect::kTei) return tei_status(error);
  if (dialect == Dialect::kLlamaCpp && error.type == "wrong_model") return 501;
  return error.status;
}

void write_or_null(JsonWriter& json, std::string_view key, std::string_view text) {
  json.key(key);
  if (text.empty()) {
    json.null();
  } else {
    json.string(text);
  }
}

void write_openai(JsonWriter& json, const HttpError& error, int status) {
  json.key("error").begin_object().key("message").string(error.message);
  json.key("type").string(openai_type(status));
  write_or_null(json, "param", error.field);
  json.key("code").string(error.type).end_object();
}

void write_llama(JsonWriter& json, const HttpError& error, int status) {
  json.key("error").begin_object().key("code").integer(status);
  json.key("message").string(error.message).key("type").string(llama_type(status));
  write_or_null(json, "param", error.field);
  json.end_object();
}

void write_body(JsonWriter& json, Dialect dialect, const HttpError& error, int status) {
  switch (dialect) {
    case Dialect::kOwn:
      json.key("error").begin_object().key("code").string(error.type);
      json.key("message").string(error.message);
      if (!error.field.empty()) json.key("field").string(error.field);
      json.end_object();
      return;
    case Dialect::kOpenAi:
      return write_openai(json, error, status);
    case Dialect::kTei:
      json.key("error").string(error.message).key("error_type").string(tei_type(error));
      return;
    case Dialect::kCohere:
      json.key("message").string(error.message);
      return;
    case Dialect::kJina:
      json.key("detail").string(error.message).key("message").string(error.message);
      return write_llama(json, error, status);
    case Dialect::kLlamaCpp:
      return write_llama(json, error, status);
  }
}

void add_retry(Headers& headers, double seconds) {
  // A client that is told 0 comes back at once; an hour is as good as never.
  const double wait = std::clamp(seconds, 0.001, 3600.0);
  headers.add("Retry-After", std::to_string(static_cast<int>(std::ceil(wait))));
  headers.add("retry-after-ms", std::to_string(static_cast<int>(std::ceil(wait * 1000))));
}

}  // namespace

Response error_response(Dialect dialect, const HttpError& error) {
  Response out;
  out.status = status_of(dialect, error);
  JsonWriter json(out.body);
  json.begin_object();
  write_body(json, dialect, error, out.status);
  json.end_object();
  if (error.retry_after_s) add_retry(out.headers, *error.retry_after_s);
  return out;
}

}  // namespace tamis::server
