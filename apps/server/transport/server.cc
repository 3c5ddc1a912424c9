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
using Clock = std::chrono::steady_clock;
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
  probe.open(local(), error);
  if (!error) probe.non_blocking(true, error);  // a live one may be too busy to accept
  if (!error) probe.connect(local::endpoint(path.string()), error);
  if (error == asio::error::connection_refused) {
    ::unlink(path.c_str());
    return;
  }
  cannot_listen(path.string(), error && error != asio::error::would_block
                                   ? error
                                   : Code(asio::error::address_in_use));
}

struct Listening {
  std::optional<tcp::acceptor> tcp_acceptor;
  std::optional<local::acceptor> unix_acceptor;
  std::filesystem::path socket_file;
  struct stat socket_status {};  ///< of that file when it was made

  /// Unless another server has put its own in the place.
  void remove_socket_file() const {
    struct stat now {};
    if (socket_file.empty() || ::lstat(socket_file.c_str(), &now) != 0) return;
    if (now.st_ino == socket_status.st_ino && now.st_dev == socket_status.st_dev) {
      ::unlink(socket_file.c_str());
    }
  }
};

/// A connection in the lists of the server, for as long as this lives.
class Membership {
 public:
  /// With state.mutex held.
  Membership(State& state, std::shared_ptr<Handle> handle, std::string address)
      : state_(state), handle_(std::move(handle)), address_(std::move(address)) {
    ++state_.addresses[address_];
    state_.connections.emplace(handle_.get(), handle_);
    ++state_.counters.connections;
    ++state_.counters.connections_open;
  }
  ~Membership() {
    const std::lock_guard lock(state_.mutex);
    --state_.counters.connections_open;
    state_.connections.erase(handle_.get());
    const auto at = state_.addresses.find(address_);
    if (--at->second == 0) state_.addresses.erase(at);
    state_.closed.notify_all();
  }
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

 private:
  State& state_;
  std::shared_ptr<Handle> handle_;
  std::string address_;
};

/// Serves a connection that is on the lists, which end with the coroutine however that ends.
asio::awaitable<void, Strand> serve(State& state, std::shared_ptr<Handle> handle, Stream stream,
                                    Peer peer, bool plain, std::unique_ptr<Membership>) {
  const auto session = plain ? serve_plain : serve_tls;
  co_await session(state, std::move(handle), std::move(stream), std::move(peer));
}

/// More than so many that are told that they are too many are cut without a word.
constexpr size_t kTurnedAwayAtOnce = 64;

asio::awaitable<void, Strand> turn_away_one(State& state, Stream stream) {
  co_await turn_away(state, std::move(stream));
  const std::lock_guard lock(state.mutex);
  --state.turned_away;
}

}  // namespace

struct HttpServer::Impl {
  Impl(const ServerOptions& options, Handler& handler)
      : state(options, handler), guard(state.io.get_executor()) {}

  State state;
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  std::list<Listening> listening;
  std::vector<std::thread> threads;
  std::mutex stopping;
  bool stopped = false;
  std::atomic<bool> cut{false};  ///< a connection was ended before its answer was written
  Clock::time_point drain_until = Clock::time_point::max();  ///< of state.mutex

  void open(size_t index);
  void open_tcp(const Listener& listener, Listening& out);
  void open_unix(const Listener& listener, Listening& out);
  template <class Acceptor>
  asio::awaitable<void> accept(Acceptor& acceptor, size_t index);
  template <class Socket, class Endpoint>
  void admit(Socket socket, const Endpoint& endpoint, size_t index);
  bool wait_for_none();
  void each_connection(const std::function<void(Handle&)>& action);
  void close_listeners();
};

void HttpServer::Impl::open_tcp(const Listener& listener, Listening& out) {
  const std::string where = fmt::format("{} port {}", listener.host, listener.port);
  Code error;
  tcp::resolver resolver(state.io);
  const auto found =
      resolver.resolve(listener.host, std::to_string(listener.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    fail(ErrorCode::kInvalidArgument, "cannot listen on {}: the name is not known: {}", where,
         error.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(state.io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) cannot_listen(where, error);
  out.tcp_acceptor.emplace(std::move(acceptor));
}

void HttpServer::Impl::open_unix(const Listener& listener, Listening& out) {
  const std::filesystem::path& path = listener.unix_socket;
  remove_stale(state.io, path);
  Code error;
  local::acceptor acceptor(state.io);
  acceptor.open(local(), error);
  // The file is made with the mode of the socket, less the umask: at no time may more connect.
  const auto mode = static_cast<mode_t>(listener.unix_mode);
  const auto check = [&](int failed) {
    if (failed != 0) error = Code(errno, boost::system::system_category());
  };
  if (!error) check(::fchmod(acceptor.native_handle(), mode));
  if (!error) acceptor.bind(local::endpoint(path.string()), error);
  if (!error) check(::chmod(path.c_str(), mode));
  if (!error) check(::lstat(path.c_str(), &out.socket_status));
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) cannot_listen(path.string(), error);
  out.socket_file = path;
  out.unix_acceptor.emplace(std::move(acceptor));
}

void HttpServer::Impl::open(size_t index) {
  const Listener& listener = state.options.listeners[index];
  state.tls.push_back(listener.tls ? make_tls(*listener.tls) : nullptr);
  Listening& out = listening.emplace_back();
  if (listener.unix_socket.empty()) {
    open_tcp(listener, out);
    asio::co_spawn(state.io, accept(*out.tcp_acceptor, index), asio::detached);
  } else {
    open_unix(listener, out);
    asio::co_spawn(state.io, accept(*out.unix_acceptor, index), asio::detached);
  }
}

template <class Acceptor>
asio::awaitable<void> HttpServer::Impl::accept(Acceptor& acceptor, size_t index) {
  asio::steady_timer pause(state.io);
  while (acceptor.is_open()) {
    typename Acceptor::protocol_type::endpoint endpoint;
    typename Acceptor::protocol_type::socket socket(state.io);
    auto [error] = co_await acceptor.async_accept(socket, endpoint, kAwait);
    if (error == asio::error::operation_aborted || state.draining) co_return;
    if (!error) {
      try {
        admit(std::move(socket), endpoint, index);
        continue;
      } catch (const std::exception&) {
        // No memory for another connection.
      }
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
  const TransportLimits& limits = state.options.limits;
  auto handle = std::make_shared<Handle>(asio::make_strand(state.io));
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
  const bool plain = !state.options.listeners[index].tls.has_value();
  std::unique_ptr<Membership> member;
  {
    const std::lock_guard lock(state.mutex);
    if (state.draining) return;  // stop has looked, or is about to, and waits for nobody new
    const auto here = state.addresses.find(peer.address);
    if (state.connections.size() >= limits.connections ||
        (peer.address != "unix" && here != state.addresses.end() &&
         here->second >= limits.connections_per_address)) {
      ++state.counters.connections_refused;
      if (!plain || state.turned_away >= kTurnedAwayAtOnce) return;
      ++state.turned_away;
      asio::co_spawn(handle->strand, turn_away_one(state, std::move(stream)), asio::detached);
      return;
    }
    member = std::make_unique<Membership>(state, handle, peer.address);
  }
  asio::co_spawn(handle->strand,
                 serve(state, handle, std::move(stream), peer, plain, std::move(member)),
                 asio::detached);
}

void HttpServer::Impl::each_connection(const std::function<void(Handle&)>& action) {
  std::vector<std::shared_ptr<Handle>> all;
  {
    const std::lock_guard lock(state.mutex);
    for (const auto& [key, handle] : state.connections) all.push_back(handle);
  }
  for (const auto& handle : all) {
    asio::post(handle->strand, [handle, action] { action(*handle); });
  }
}

/// Until there is no connection, or the drain's time is over.
bool HttpServer::Impl::wait_for_none() {
  std::unique_lock lock(state.mutex);
  while (!state.connections.empty() && Clock::now() < drain_until) {
    state.closed.wait_until(lock, drain_until);
  }
  return state.connections.empty();
}

void HttpServer::Impl::close_listeners() {
  for (Listening& l : listening) {
    asio::post(state.io, [&l] {
      Code ignored;
      if (l.tcp_acceptor) l.tcp_acceptor->close(ignored);
      if (l.unix_acceptor) l.unix_acceptor->close(ignored);
    });
    l.remove_socket_file();
  }
}

namespace {

/// What one connection throws, for want of memory, ends that connection alone.
void run(asio::io_context& io) {
  for (;;) {
    try {
      io.run();
      return;
    } catch (const std::exception&) {
      continue;
    }
  }
}

}  // namespace

HttpServer::HttpServer(const ServerOptions& options, Handler& handler)
    : impl_(std::make_unique<Impl>(options, handler)) {
  for (size_t i = 0; i < options.listeners.size(); ++i) impl_->open(i);
  try {
    for (int i = 0; i < options.io_threads; ++i) {
      impl_->threads.emplace_back([io = &impl_->state.io] { run(*io); });
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

const TransportCounters& HttpServer::counters() const { return impl_->state.counters; }

void HttpServer::cut(int limit_ms) {
  Impl& s = *impl_;
  const std::lock_guard lock(s.state.mutex);
  s.drain_until = std::min(s.drain_until, Clock::now() + std::chrono::milliseconds(limit_ms));
  s.state.closed.notify_all();
}

bool HttpServer::stop(int limit_ms) {
  Impl& s = *impl_;
  cut(limit_ms);
  bool first = false;
  {
    const std::lock_guard lock(s.state.mutex);
    first = !s.state.draining.exchange(true);
  }
  if (first) s.close_listeners();
  s.each_connection([](Handle& h) {
    // One whose next request has come is answered yet.
    if (h.idle && h.socket != nullptr && !readable(h.socket->native_handle())) h.close();
  });
  if (!s.wait_for_none()) s.cut = true;
  const std::lock_guard turn(s.stopping);
  if (std::exchange(s.stopped, true)) return !s.cut;
  s.each_connection([](Handle& h) {
    const std::lock_guard lock(h.stop_mutex);
    h.stop.request_stop();
    h.close();
  });
  // Handlers end at their stop token; their connections with them.
  {
    std::unique_lock lock(s.state.mutex);
    s.state.closed.wait(lock, [&] { return s.state.connections.empty(); });
  }
  s.guard.reset();
  s.state.io.stop();
  for (std::thread& thread : s.threads) thread.join();
  return !s.cut;
}

void HttpServer::reload_tls() {
  State& state = impl_->state;
  std::vector<std::shared_ptr<asio::ssl::context>> next;
  for (const Listener& listener : state.options.listeners) {
    next.push_back(listener.tls ? make_tls(*listener.tls) : nullptr);
  }
  const std::lock_guard lock(state.tls_mutex);
  state.tls = std::move(next);
}

}  // namespace tamis::server
