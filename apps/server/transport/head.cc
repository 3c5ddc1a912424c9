#include "transport/head.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <optional>
#include <string>

namespace tamis::server {
namespace {

namespace http = boost::beast::http;

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool has_control_character(std::string_view value) {
  return std::any_of(value.begin(), value.end(), [](char c) {
    const auto code = static_cast<unsigned char>(c);
    return (code < 0x20 && c != '\t') || code == 0x7f;
  });
}

std::optional<std::string> percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = high >= 0 ? digit(text[i + 2]) : -1;
    if (low < 0 || high * 16 + low == 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace

std::string_view wrong_with(const ParsedHeader& header) {
  const size_t codings = header.count(http::field::transfer_encoding);
  if (codings > 0) {
    if (header.version() < 11) return "a Transfer-Encoding in HTTP/1.0";
    if (codings > 1 || !boost::beast::iequals(header[http::field::transfer_encoding], "chunked")) {
      return "a Transfer-Encoding other than chunked";
    }
  }
  const size_t lengths = header.count(http::field::content_length);
  if (lengths > 0 && codings > 0) return "a Content-Length beside a Transfer-Encoding";
  if (lengths > 1) return "more than one Content-Length";
  if (lengths == 1 && !all_digits(header[http::field::content_length])) {
    return "a Content-Length that is no number";
  }
  const size_t hosts = header.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && header.version() >= 11)) return "expected one Host";
  for (const auto& field : header) {
    if (has_control_character(field.value())) return "a control character in a header";
  }
  return {};
}

bool read_head(const ParsedHeader& header, RequestHead& out) {
  out.method = std::string(header.method_string());
  const std::string_view target(header.target().data(), header.target().size());
  const size_t question = std::min(target.find('?'), target.size());
  const auto path = percent_decoded(target.substr(0, question));
  if (!path || !path->starts_with('/')) return false;
  out.path = *path;
  out.query = target.substr(std::min(question + 1, target.size()));
  for (const auto& field : header) {
    out.headers.add(std::string(field.name_string()), std::string(field.value()));
  }
  return true;
}

}  // namespace tamis::server
