#pragma once

// What a handler sees of HTTP. Nothing here knows the HTTP library.

#include <chrono>
#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tamis::server {

/// Names compare without case; a name may occur several times.
class Headers {
 public:
  void add(std::string name, std::string value) {
    fields_.emplace_back(std::move(name), std::move(value));
  }
  /// The first one; empty if there is none.
  std::string_view get(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// Where a request came in.
struct Peer {
  std::string address;  ///< "127.0.0.1", "::1"; "unix" of a Unix socket
  size_t listener = 0;  ///< index into ServerOptions::listeners
  bool tls = false;
};

/// A request of which the header was read, and perhaps not yet the body.
struct RequestHead {
  std::string method;  ///< "POST"
  std::string path;    ///< "/v1/rerank": up to the '?', percent-decoded
  std::string query;   ///< behind the '?', as it came
  Headers headers;
  Peer peer;
  size_t body_bytes = 0;  ///< as Content-Length says; 0 of a chunked body
  bool chunked = false;
  std::chrono::steady_clock::time_point received;  ///< when its first byte was there
};

struct Request : RequestHead {
  std::string body;
  /// Asks to stop when the client has gone, or the server will not wait any longer.
  std::stop_token stop;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;
  bool close = false;  ///< the connection, after this answer
};

/// "Too Many Requests"; "Unknown" of a number that has no phrase.
std::string_view status_phrase(int status);

}  // namespace tamis::server
