#pragma once

// What the connections of a server share. Private to transport/.

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "transport/server.h"
#include "transport/workers.h"

namespace tamis::server {

using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
/// TCP or Unix, which are the same from here on.
using Stream = boost::beast::basic_stream<boost::asio::generic::stream_protocol, Strand>;

/// Bytes of bodies that are held, of all connections.
class BodyBudget {
 public:
  explicit BodyBudget(size_t most) : most_(most) {}
  bool take(size_t bytes) {
    if (held_.fetch_add(bytes) + bytes <= most_) return true;
    held_ -= bytes;
    return false;
  }
  void give(size_t bytes) { held_ -= bytes; }

 private:
  size_t most_;
  std::atomic<size_t> held_{0};
};

/// A connection as the server sees it, to end it. Used on its strand alone, but for `stop`.
struct Handle {
  explicit Handle(Strand s) : strand(std::move(s)) {}
  void close() {
    boost::system::error_code ignored;
    if (socket != nullptr) socket->close(ignored);
  }

  Strand strand;
  Stream::socket_type* socket = nullptr;  ///< null before and after the session that owns it
  bool idle = true;                       ///< no byte of a request has come yet
  std::stop_source stop;                  ///< of the request that is being answered
  std::mutex stop_mutex;                  ///< of the pointer above, which each request replaces
};

/// Owned by the server. Coroutines and tasks refer to it: they end with `io` and `workers`, which
/// it owns, so that one of them that kept it would keep itself.
struct State {
  State(const ServerOptions& o, Handler& h)
      : options(o), handler(h), bodies(o.limits.bodies_bytes), workers(o.workers) {}

  const ServerOptions options;
  Handler& handler;
  TransportCounters counters;
  BodyBudget bodies;
  std::atomic<bool> draining{false};  ///< set with `mutex` held

  std::mutex mutex;  // of what follows
  std::condition_variable closed;
  std::map<const Handle*, std::shared_ptr<Handle>> connections;
  std::unordered_map<std::string, size_t> addresses;  ///< open connections of each
  size_t turned_away = 0;                             ///< connections that are just being told so

  std::mutex tls_mutex;
  std::vector<std::shared_ptr<boost::asio::ssl::context>> tls;  ///< of each listener, or null

  boost::asio::io_context io;
  Workers workers;  ///< the last: its tasks use the rest
};

/// A context with these files. Errors: as HttpServer's constructor.
std::shared_ptr<boost::asio::ssl::context> make_tls(const TlsFiles& files);

}  // namespace tamis::server
