#include "transport/server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <thread>
#include <variant>

#include "base/fail.h"
#include "transport/connection.h"

namespace tamis::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using local = asio::local::stream_protocol;
using Code = boost::system::error_code;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

[[noreturn]] void cannot_listen(const std::string& where, const Code& error) {
  const bool many = error == asio::error::no_descriptors || error == asio::error::no_memory;
  fail(many ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable, "cannot listen on {}: {}",
       where, error.message());
}

/// A socket file that nobody listens on any more is removed; a live one is not.
void remove_stale(asio::io_context& io, const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode)) {
    fail(ErrorCode::kInvalidArgument, "{}: is there, and is no socket", path.string());
  }
  local::socket probe(io);
  Code error;
  probe.connect(local::endpoint(path.string()), error);
  if (!error) cannot_listen(path.string(), asio::error::address_in_use);
  ::unlink(path.c_str());
}

struct Listening {
  std::optional<tcp::acceptor> tcp_acceptor;
  std::optional<local::acceptor> unix_acceptor;
  std::filesystem::path socket_file;
};

}  // namespace

struct HttpServer::Impl {
  Impl(const ServerOptions& options, Handler& handler)
      : state(std::make_shared<State>(options, handler)), guard(state->io.get_executor()) {}

  std::shared_ptr<State> state;
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  std::list<Listening> listening;
  std::vector<std::thread> threads;
  std::mutex stopping;
  bool stopped = false;
  std::atomic<bool> cut{false};  ///< a connection was ended before its answer was written

  void open(size_t index);
  void open_tcp(const Listener& listener, Listening& out);
  void open_unix(const Listener& listener, Listening& out);
  template <class Acceptor>
  asio::awaitable<void> accept(Acceptor& acceptor, size_t index);
  template <class Socket, class Endpoint>
  void admit(Socket socket, const Endpoint& endpoint, size_t index);
  bool wait_for_none(std::chrono::steady_clock::time_point until);
  void each_connection(const std::function<void(Handle&)>& action);
  void close_listeners();
};

void HttpServer::Impl::open_tcp(const Listener& listener, Listening& out) {
  const std::string where = fmt::format("{} port {}", listener.host, listener.port);
  Code error;
  tcp::resolver resolver(state->io);
  const auto found =
      resolver.resolve(listener.host, std::to_string(listener.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    fail(ErrorCode::kInvalidArgument, "cannot listen on {}: the name is not known: {}", where,
         error.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(state->io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) cannot_listen(where, error);
  out.tcp_acceptor.emplace(std::move(acceptor));
}

void HttpServer::Impl::open_unix(const Listener& listener, Listening& out) {
  const std::filesystem::path& path = listener.unix_socket;
  remove_stale(state->io, path);
  Code error;
  local::acceptor acceptor(state->io);
  acceptor.open(local(), error);
  // Nobody may connect before the permissions are what they should be.
  const mode_t before = ::umask(0777);
  if (!error) acceptor.bind(local::endpoint(path.string()), error);
  ::umask(before);
  if (!error && ::chmod(path.c_str(), static_cast<mode_t>(listener.unix_mode)) != 0) {
    error = Code(errno, boost::system::system_category());
  }
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) cannot_listen(path.string(), error);
  out.socket_file = path;
  out.unix_acceptor.emplace(std::move(acceptor));
}

void HttpServer::Impl::open(size_t index) {
  const Listener& listener = state->options.listeners[index];
  state->tls.push_back(listener.tls ? make_tls(*listener.tls) : nullptr);
  Listening& out = listening.emplace_back();
  if (listener.unix_socket.empty()) {
    open_tcp(listener, out);
    asio::co_spawn(state->io, accept(*out.tcp_acceptor, index), asio::detached);
  } else {
    open_unix(listener, out);
    asio::co_spawn(state->io, accept(*out.unix_acceptor, index), asio::detached);
  }
}

template <class Acceptor>
asio::awaitable<void> HttpServer::Impl::accept(Acceptor& acceptor, size_t index) {
  asio::steady_timer pause(state->io);
  while (acceptor.is_open()) {
    typename Acceptor::protocol_type::endpoint endpoint;
    typename Acceptor::protocol_type::socket socket(state->io);
    auto [error] = co_await acceptor.async_accept(socket, endpoint, kAwait);
    if (error == asio::error::operation_aborted || state->draining) co_return;
    if (!error) {
      admit(std::move(socket), endpoint, index);
      continue;
    }
    // No descriptor is free, for instance: others are served meanwhile.
    pause.expires_after(std::chrono::milliseconds(100));
    co_await pause.async_wait(kAwait);
  }
}

template <class Socket, class Endpoint>
void HttpServer::Impl::admit(Socket socket, const Endpoint& endpoint, size_t index) {
  Peer peer{"unix", index, false};
  if constexpr (std::is_same_v<Socket, tcp::socket>) {
    peer.address = endpoint.address().to_string();
    Code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
  }
  const TransportLimits& limits = state->options.limits;
  auto handle = std::make_shared<Handle>(asio::make_strand(state->io));
  Code error;
  const auto protocol = socket.local_endpoint(error).protocol();
  const int descriptor = socket.release(error);
  if (error) return;
  Stream stream(handle->strand);
  stream.socket().assign(asio::generic::stream_protocol(protocol), descriptor, error);
  if (error) {
    ::close(descriptor);
    return;
  }
  const bool plain = !state->options.listeners[index].tls.has_value();
  {
    const std::lock_guard lock(state->mutex);
    const bool counted = peer.address != "unix";
    if (state->connections.size() >= limits.connections ||
        (counted && state->addresses[peer.address] >= limits.connections_per_address)) {
      ++state->counters.connections_refused;
      if (plain)
        asio::co_spawn(handle->strand, turn_away(state, std::move(stream)), asio::detached);
      return;
    }
    ++state->counters.connections;
    ++state->counters.connections_open;
    ++state->addresses[peer.address];
    state->connections.emplace(handle.get(), handle);
  }
  const auto serve = plain ? serve_plain : serve_tls;
  auto session = serve(state, handle, std::move(stream), peer);
  asio::co_spawn(handle->strand, std::move(session),
                 [state = state, handle, address = peer.address](std::exception_ptr) {
                   const std::lock_guard lock(state->mutex);
                   handle->close = nullptr;
                   --state->counters.connections_open;
                   state->connections.erase(handle.get());
                   const auto at = state->addresses.find(address);
                   if (--at->second == 0) state->addresses.erase(at);
                   state->closed.notify_all();
                 });
}

void HttpServer::Impl::each_connection(const std::function<void(Handle&)>& action) {
  std::vector<std::shared_ptr<Handle>> all;
  {
    const std::lock_guard lock(state->mutex);
    for (const auto& [key, handle] : state->connections) all.push_back(handle);
  }
  for (const auto& handle : all) {
    asio::post(handle->strand, [handle, action] { action(*handle); });
  }
}

bool HttpServer::Impl::wait_for_none(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(state->mutex);
  return state->closed.wait_until(lock, until, [&] { return state->connections.empty(); });
}

void HttpServer::Impl::close_listeners() {
  for (Listening& l : listening) {
    asio::post(state->io, [&l] {
      Code ignored;
      if (l.tcp_acceptor) l.tcp_acceptor->close(ignored);
      if (l.unix_acceptor) l.unix_acceptor->close(ignored);
    });
    if (!l.socket_file.empty()) ::unlink(l.socket_file.c_str());
  }
}

HttpServer::HttpServer(const ServerOptions& options, Handler& handler)
    : impl_(std::make_unique<Impl>(options, handler)) {
  for (size_t i = 0; i < options.listeners.size(); ++i) impl_->open(i);
  try {
    for (int i = 0; i < options.io_threads; ++i) {
      impl_->threads.emplace_back([io = &impl_->state->io] { io->run(); });
    }
  } catch (const std::system_error& e) {
    stop(0);
    fail(ErrorCode::kResourceExhausted, "cannot start a thread: {}", e.what());
  }
}

HttpServer::~HttpServer() { stop(0); }

std::vector<uint16_t> HttpServer::ports() const {
  std::vector<uint16_t> out;
  for (const Listening& l : impl_->listening) {
    Code ignored;
    out.push_back(l.tcp_acceptor ? l.tcp_acceptor->local_endpoint(ignored).port() : uint16_t{0});
  }
  return out;
}

const TransportCounters& HttpServer::counters() const { return impl_->state->counters; }

bool HttpServer::stop(int limit_ms) {
  Impl& s = *impl_;
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
  if (!s.state->draining.exchange(true)) s.close_listeners();
  s.each_connection([](Handle& h) {
    if (h.idle && h.close) h.close();
  });
  if (!s.wait_for_none(until)) s.cut = true;
  const std::lock_guard turn(s.stopping);
  if (std::exchange(s.stopped, true)) return !s.cut;
  s.each_connection([](Handle& h) {
    const std::lock_guard lock(h.stop_mutex);
    h.stop.request_stop();
    if (h.close) h.close();
  });
  // Handlers end at their stop token; their connections with them.
  s.wait_for_none(std::chrono::steady_clock::time_point::max());
  s.guard.reset();
  s.state->io.stop();
  for (std::thread& thread : s.threads) thread.join();
  return !s.cut;
}

void HttpServer::reload_tls() {
  State& state = *impl_->state;
  std::vector<std::shared_ptr<asio::ssl::context>> next;
  for (const Listener& listener : state.options.listeners) {
    next.push_back(listener.tls ? make_tls(*listener.tls) : nullptr);
  }
  const std::lock_guard lock(state.tls_mutex);
  state.tls = std::move(next);
}

}  // namespace tamis::server
