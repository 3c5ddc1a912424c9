#pragma once

// The HTTP/1.1 server: listeners, connections, their limits, and threads that run the handler.
// What is below this header (Boost.Beast, OpenSSL) is known to transport/ alone.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/http.h"

namespace tamis::server {

struct TlsFiles {
  std::filesystem::path certificate;  ///< PEM, with its chain
  std::filesystem::path key;          ///< PEM
};

struct Listener {
  std::string host = "127.0.0.1";     ///< address or name; ignored of a Unix socket
  uint16_t port = 0;                  ///< 0 = any free one: see HttpServer::ports
  std::filesystem::path unix_socket;  ///< not empty: a Unix socket instead; a stale one is replaced
  int unix_mode = 0660;               ///< of the socket
  std::optional<TlsFiles> tls;
};

/// Times in milliseconds; each holds for one request, and ends it with 408 (or, of an idle or a
/// silent connection, without a word).
struct TransportLimits {
  size_t header_bytes = 16 << 10;           ///< request line included; more: 431
  size_t body_bytes = size_t{32} << 20;     ///< more, also of a chunked body: 413
  size_t bodies_bytes = size_t{256} << 20;  ///< of all bodies, what has come of them; more: 503
  int header_ms = 10'000;                   ///< from the first byte to the end of the header
  int body_ms = 60'000;                     ///< to read the body
  int write_ms = 60'000;                    ///< to write the answer
  int idle_ms = 120'000;                    ///< between requests of a connection
  size_t connections = 4096;                ///< more are answered 503 and closed
  size_t connections_per_address = 2048;    ///< the same, for one address; Unix sockets have none
};

struct ServerOptions {
  std::vector<Listener> listeners;
  TransportLimits limits;
  int io_threads = 1;
  size_t workers = 256;  ///< threads that handlers run on; started when they are needed
};

/// What the server counts; any thread may read.
struct TransportCounters {
  std::atomic<uint64_t> connections{0};  ///< accepted
  std::atomic<uint64_t> connections_open{0};
  std::atomic<uint64_t> connections_refused{0};
  std::atomic<uint64_t> requests{0};                ///< whose header was read
  std::atomic<uint64_t> requests_running{0};        ///< being answered by a handler
  std::atomic<uint64_t> malformed{0};               ///< 400, 408, 413, 431 by the server itself
  std::atomic<uint64_t> clients_gone{0};            ///< before their answer was written
  std::atomic<uint64_t> bytes_in{0}, bytes_out{0};  ///< of bodies
};

/// What becomes of a request whose header was read.
struct Admission {
  enum class Kind {
    kWork,    ///< read the body, then Handler::answer on a worker
    kAtOnce,  ///< read the body, then Handler::answer on the I/O thread: it must not wait
    kRefuse,  ///< `response` is the answer; the body is not looked at
  };
  Kind kind = Kind::kWork;
  Response response;
  size_t body_limit = 0;  ///< for this request, less than TransportLimits::body_bytes; 0 = that
  /// Kept until the answer is written or given up.
  std::shared_ptr<void> ticket;
};

/// Thread rule: called from many threads at once. Neither function may throw.
class Handler {
 public:
  virtual ~Handler() = default;
  /// On an I/O thread, so it must not wait.
  virtual Admission admit(const RequestHead& head) = 0;
  virtual Response answer(Request request) = 0;
  /// An answer of the server itself (400, 408, 413, 431, 503): gives it the body that the dialect
  /// of `path` wants. `path` is empty where the request was not understood that far.
  virtual Response refuse(int status, std::string_view message, std::string_view path) = 0;
  /// The answer was written (status, body bytes sent), or the client had gone (status 499).
  virtual void finished(const RequestHead& head, int status, size_t bytes) {
    (void)head, (void)status, (void)bytes;
  }
};

/// Serves from construction until stop. HTTP/1.0 and 1.1, keep-alive; pipelined requests are
/// answered in order. HEAD is answered as GET without a body; OPTIONS, methods and paths are the
/// handler's affair. `Expect: 100-continue` is answered once the request was admitted.
/// A client that closes its connection (also half of it) while it waits is taken as gone: the
/// request's stop token is triggered.
/// Thread rule: any thread.
class HttpServer {
 public:
  /// `handler` must outlive the server. Errors: unavailable (address in use, or not of this
  /// machine: names it), invalid_argument (host not resolved, TLS files that do not fit),
  /// not_found (TLS files), resource_exhausted (threads, file descriptors).
  HttpServer(const ServerOptions& options, Handler& handler);
  /// stop with no time left.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// The port of each listener; 0 of a Unix socket.
  std::vector<uint16_t> ports() const;
  const TransportCounters& counters() const;

  /// Accepts no more connections, closes idle ones, and answers what was begun, each with
  /// `Connection: close`; returns when all is answered, or after limit_ms. Then what is left is
  /// asked to stop and cut. Returns whether nothing was cut. Calls after the first return at once.
  /// A handler that does not heed its stop token is waited for, however long it takes.
  bool stop(int limit_ms);
  /// A stop in progress, or to come, has at most so much time left. Does not wait.
  void cut(int limit_ms);

  /// Reads certificate and key again, for connections from now on. Errors as the constructor's,
  /// and then the old ones stay.
  void reload_tls();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis::server
