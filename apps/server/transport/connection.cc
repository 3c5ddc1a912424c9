#include "transport/connection.h"

#include <poll.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <optional>

#include "transport/body.h"
#include "transport/head.h"

namespace tamis::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Code = boost::system::error_code;
using std::chrono::milliseconds;
template <class T>
using Awaitable = asio::awaitable<T, Strand>;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable_t<Strand>{});

/// What is left of a refused request's body is read when it is so little; else the connection ends.
constexpr size_t kWorthReading = 256 << 10;
/// How often a connection is looked at whose request is being answered.
constexpr milliseconds kLook{100};
constexpr milliseconds kLinger{1000};

using Parser = http::request_parser<GrowingBody>;

/// The client has closed its connection, or its half of it.
bool peer_closed(int socket) {
  pollfd fd{socket, POLLRDHUP, 0};
  return ::poll(&fd, 1, 0) > 0 && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/// Else it would end the header, and begin something of its own.
bool one_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

/// The answer of a worker, waited for on the connection's strand.
struct Pending {
  explicit Pending(const Strand& strand) : timer(strand) {}
  asio::basic_waitable_timer<std::chrono::steady_clock,
                             asio::wait_traits<std::chrono::steady_clock>, Strand>
      timer;
  std::optional<Response> response;
  std::atomic<bool> failed{false};  ///< there will be no response, for want of memory
};

/// Ends what waits on a socket when the time is over, and leaves the socket open, so that the
/// client can be told. (The time of Stream itself closes it.) Used on the connection's strand.
class Deadline {
 public:
  explicit Deadline(const Strand& strand) : timer_(strand) {}
  ~Deadline() { *alive_ = false; }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  void arm(Stream& stream, milliseconds limit) {
    expired_ = false;
    timer_.expires_after(limit);
    timer_.async_wait([this, &stream, alive = alive_](Code error) {
      if (error || !*alive) return;
      expired_ = true;
      Code ignored;
      stream.socket().cancel(ignored);
    });
  }
  void disarm() { timer_.cancel(); }
  bool expired() const { return expired_; }

 private:
  decltype(Pending::timer) timer_;
  bool expired_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// `Transport` is Stream, or TLS over it.
template <class Transport>
class Session {
 public:
  Session(State& state, std::shared_ptr<Handle> handle, Transport transport, Peer peer)
      : state_(state),
        handle_(std::move(handle)),
        transport_(std::move(transport)),
        peer_(std::move(peer)),
        limits_(state_.options.limits),
        buffer_(limits_.header_bytes + (64 << 10)),
        deadline_(handle_->strand) {
    handle_->socket = &stream().socket();
  }

  ~Session() { handle_->socket = nullptr; }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// False: the connection is over.
  Awaitable<bool> handshake() {
    stream().expires_after(milliseconds(limits_.header_ms));
    const auto [error] =
        co_await transport_.async_handshake(asio::ssl::stream_base::server, kAwait);
    if (error) ++state_.counters.malformed;
    co_return !error;
  }

  Awaitable<void> requests() {
    // g++ 12 makes an illegal instruction of a loop whose condition waits.
    bool more = true;
    while (more) more = co_await next_request();
  }

 private:
  Stream& stream() { return beast::get_lowest_layer(transport_); }

  /// False: the connection is over.
  Awaitable<bool> next_request() {
    handle_->idle = buffer_.size() == 0;
    if (handle_->idle) {
      // A request that has come may wait in the kernel.
      if (state_.draining && !readable(stream().socket().native_handle())) co_return false;
      stream().expires_after(milliseconds(limits_.idle_ms));
      auto [error, bytes] = co_await transport_.async_read_some(buffer_.prepare(16 << 10), kAwait);
      if (error) co_return false;
      buffer_.commit(bytes);
      handle_->idle = false;
    }
    gone_ = false;
    head_ = RequestHead{};
    head_.received = std::chrono::steady_clock::now();
    head_.peer = peer_;
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(limits_.header_bytes));
    parser_->body_limit(limits_.body_bytes);
    stream().expires_never();
    deadline_.arm(stream(), milliseconds(limits_.header_ms));
    const Code error = co_await read_header();
    deadline_.disarm();
    if (error) co_return co_await header_failed(error);
    const auto& header = parser_->get();
    keep_alive_ = header.keep_alive();
    const std::string_view wrong = wrong_with(header);
    if (!wrong.empty() || !read_head(header, head_)) {
      co_return co_await refuse(400, wrong.empty() ? "the target is no path" : wrong);
    }
    head_.chunked = parser_->chunked();
    head_.body_bytes = parser_->content_length().value_or(0);
    ++state_.counters.requests;
    co_return co_await answer();
  }

  /// Beast's own limit is of what one call sees: lines that come one by one are counted here.
  Awaitable<Code> read_header() {
    size_t taken = 0;
    for (;;) {
      Code error;
      const size_t used = parser_->put(buffer_.data(), error);
      buffer_.consume(used);
      taken += used;
      const bool over =
          taken + (parser_->is_header_done() ? 0 : buffer_.size()) > limits_.header_bytes;
      if (over) co_return http::error::header_limit;
      if (error && error != http::error::need_more) co_return error;
      if (parser_->is_header_done()) co_return Code{};
      if (used > 0 && !error && buffer_.size() > 0) continue;
      auto [failed, bytes] = co_await transport_.async_read_some(buffer_.prepare(16 << 10), kAwait);
      if (failed) co_return failed == asio::error::eof ? Code(http::error::end_of_stream) : failed;
      buffer_.commit(bytes);
    }
  }

  Awaitable<bool> header_failed(Code error) {
    if (deadline_.expired()) co_return co_await refuse(408, "the header took too long");
    if (error == http::error::end_of_stream || error == asio::error::operation_aborted) {
      co_return false;
    }
    if (error == http::error::body_limit) co_return co_await refuse(413, "the body is too large");
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      co_return co_await refuse(431, "the header is too large");
    }
    if (error.category() != http::make_error_code(http::error::bad_method).category()) {
      co_return false;  // the socket's own
    }
    co_return co_await refuse(400, "this is no HTTP request: " + error.message());
  }

  Awaitable<bool> answer() {
    Admission admission = state_.handler.admit(head_);
    if (admission.kind == Admission::Kind::kRefuse) {
      co_return co_await finish(std::move(admission.response));
    }
    if (admission.body_limit > 0) {
      parser_->body_limit(std::min(limits_.body_bytes, admission.body_limit));
    }
    BodyCharge charge(state_.bodies);
    const int refused = co_await read_body(charge);
    deadline_.disarm();
    if (refused == 499) {
      ++state_.counters.clients_gone;
      co_return false;
    }
    if (refused != 0) {
      co_return co_await refuse(refused, refused == 408   ? "the body took too long"
                                         : refused == 413 ? "the body is too large"
                                         : refused == 503 ? "too many bodies at once"
                                                          : "the body is not as the header says");
    }
    state_.counters.bytes_in += parser_->get().body().size();
    Request request{head_, std::move(parser_->get().body()), {}};
    std::stop_source stop;
    request.stop = stop.get_token();
    {
      const std::lock_guard lock(handle_->stop_mutex);
      handle_->stop = stop;
    }
    ++state_.counters.requests_running;
    Response response;
    if (admission.kind == Admission::Kind::kAtOnce) {
      response = run(state_, std::move(request));
    } else {
      response = co_await on_worker(std::move(request), stop);
    }
    --state_.counters.requests_running;
    co_return co_await finish(std::move(response));
  }

  /// 0, or the status to refuse with; 499: the client is gone.
  Awaitable<int> read_body(BodyCharge& charge) {
    if (parser_->is_done()) co_return 0;
    stream().expires_never();
    deadline_.arm(stream(), milliseconds(limits_.body_ms));
    if (beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
      http::response<http::empty_body> go(http::status::continue_, 11);
      auto [error, bytes] = co_await http::async_write(transport_, go, kAwait);
      (void)bytes;
      if (error) co_return 499;
    }
    while (!parser_->is_done()) {
      auto [error, bytes] = co_await http::async_read_some(transport_, buffer_, *parser_, kAwait);
      (void)bytes;
      if (error == http::error::body_limit) co_return 413;
      if (error == boost::system::errc::not_enough_memory) co_return 503;
      if (deadline_.expired()) co_return 408;
      if (error == http::error::partial_message || error == http::error::end_of_stream) {
        co_return 499;
      }
      if (error) {
        const bool ours =
            error.category() == http::make_error_code(http::error::bad_method).category();
        co_return ours ? 400 : 499;
      }
      if (!charge.at_least(parser_->get().body().size())) co_return 503;
    }
    co_return 0;
  }

  static Response run(State& state, Request request) {
    const std::string path = request.path;
    try {
      return state.handler.answer(std::move(request));
    } catch (...) {  // it may not throw, and if it does nobody else shall suffer
      return state.handler.refuse(500, "a defect of the server", path);
    }
  }

  /// On a worker. Whatever happens, the connection gets to know.
  static void run_for(State& state, const Strand& strand, const std::shared_ptr<Pending>& pending,
                      Request request) noexcept {
    try {
      auto response = std::make_shared<Response>(run(state, std::move(request)));
      asio::post(strand, [pending, response] {
        pending->response = std::move(*response);
        pending->timer.cancel();
      });
    } catch (...) {
      pending->failed = true;
    }
  }

  Awaitable<Response> on_worker(Request request, std::stop_source stop) {
    auto pending = std::make_shared<Pending>(handle_->strand);
    auto shared = std::make_shared<Request>(std::move(request));
    try {
      state_.workers.run([&state = state_, strand = handle_->strand, pending, shared] {
        run_for(state, strand, pending, std::move(*shared));
      });
    } catch (const std::exception&) {
      co_return state_.handler.refuse(503, "no thread for another request", head_.path);
    }
    shared.reset();
    const int socket = stream().socket().native_handle();
    stream().expires_never();
    while (!pending->response) {
      pending->timer.expires_after(kLook);
      co_await pending->timer.async_wait(kAwait);
      if (pending->failed)
        pending->response = Response{503, "text/plain", "out of memory\n", {}, true};
      if (!pending->response && !stop.stop_requested() && peer_closed(socket)) {
        gone_ = true;
        ++state_.counters.clients_gone;
        stop.request_stop();
      }
    }
    co_return std::move(*pending->response);
  }

  Awaitable<bool> refuse(int status, std::string_view why) {
    ++state_.counters.malformed;
    Response response = state_.handler.refuse(status, why, head_.path);
    response.close = true;
    co_return co_await finish(std::move(response));
  }

  /// Writes the answer, and makes the connection ready for the next request if there may be one.
  Awaitable<bool> finish(Response response) {
    // A body that was not read stands in the way.
    bool unread = !parser_->is_done();
    const bool expects = parser_->is_header_done() && parser_->get().count(http::field::expect) > 0;
    if (unread && !response.close && !parser_->chunked() && !expects &&
        parser_->content_length_remaining().value_or(kWorthReading + 1) <= kWorthReading) {
      const bool discarded = co_await discard_body();
      unread = !discarded;
    }
    const bool keep = keep_alive_ && !unread && !response.close && !state_.draining;
    const int status = response.status;
    const size_t bytes = response.body.size();
    const bool written = co_await write(std::move(response), keep);
    state_.handler.finished(head_, written && !gone_ ? status : 499, written ? bytes : 0);
    if (!written) co_return false;
    state_.counters.bytes_out += bytes;
    if (!keep) co_await linger();
    co_return keep;
  }

  Awaitable<bool> discard_body() {
    stream().expires_after(milliseconds(limits_.body_ms));
    while (!parser_->is_done()) {
      auto [error, bytes] = co_await http::async_read_some(transport_, buffer_, *parser_, kAwait);
      (void)bytes;
      if (error) co_return false;
      parser_->get().body().clear();
    }
    co_return true;
  }

  template <class Body>
  void set_headers(http::response<Body>& out, const Response& response, bool keep) const {
    out.set(http::field::server, "tamis");
    if (!response.content_type.empty() && response.status != 204 &&
        one_line(response.content_type)) {
      out.set(http::field::content_type, response.content_type);
    }
    for (const auto& [name, value] : response.headers.all()) {
      if (one_line(name) && one_line(value)) out.insert(name, value);
    }
    out.keep_alive(keep);
  }

  Awaitable<bool> write(Response response, bool keep) {
    const unsigned version = parser_->is_header_done() ? parser_->get().version() : 11;
    const auto status = static_cast<unsigned>(response.status);
    stream().expires_after(milliseconds(limits_.write_ms));
    if (head_.method == "HEAD" || response.status == 204) {
      http::response<http::empty_body> out;
      out.version(version);
      out.result(status);
      set_headers(out, response, keep);
      if (response.status != 204) out.content_length(response.body.size());
      auto [error, bytes] = co_await http::async_write(transport_, out, kAwait);
      (void)bytes;
      co_return !error;
    }
    http::response<http::string_body> out;
    out.version(version);
    out.result(status);
    out.reason(std::string(status_phrase(response.status)));
    set_headers(out, response, keep);
    out.body() = std::move(response.body);
    out.prepare_payload();
    auto [error, bytes] = co_await http::async_write(transport_, out, kAwait);
    (void)bytes;
    co_return !error;
  }

  /// Closing with unread bytes resets the connection, and the answer with it: reads a little first.
  Awaitable<void> linger() {
    Code ignored;
    if constexpr (!std::is_same_v<Transport, Stream>) {
      stream().expires_after(kLinger);
      co_await transport_.async_shutdown(kAwait);
    }
    stream().socket().shutdown(asio::socket_base::shutdown_send, ignored);
    stream().expires_after(kLinger);
    std::array<char, 4096> waste;
    for (size_t all = 0; all < kWorthReading;) {
      auto [error, bytes] = co_await stream().async_read_some(asio::buffer(waste), kAwait);
      if (error) break;
      all += bytes;
    }
  }

  State& state_;
  std::shared_ptr<Handle> handle_;
  Transport transport_;
  Peer peer_;
  TransportLimits limits_;
  beast::flat_buffer buffer_;
  Deadline deadline_;
  std::optional<Parser> parser_;
  RequestHead head_;
  bool keep_alive_ = false;
  bool gone_ = false;  ///< the client, while its request was answered
};

using Tls = asio::ssl::stream<Stream>;

}  // namespace

bool readable(int socket) {
  pollfd fd{socket, POLLIN, 0};
  return ::poll(&fd, 1, 0) > 0;
}

asio::awaitable<void, Strand> serve_plain(State& state, std::shared_ptr<Handle> handle,
                                          Stream stream, Peer peer) {
  Session<Stream> session(state, handle, std::move(stream), std::move(peer));
  co_await session.requests();
}

asio::awaitable<void, Strand> serve_tls(State& state, std::shared_ptr<Handle> handle, Stream stream,
                                        Peer peer) {
  std::shared_ptr<asio::ssl::context> context;
  {
    const std::lock_guard lock(state.tls_mutex);
    context = state.tls.at(peer.listener);
  }
  peer.tls = true;
  Session<Tls> session(state, handle, Tls(std::move(stream), *context), std::move(peer));
  const bool agreed = co_await session.handshake();
  if (!agreed) co_return;
  co_await session.requests();
}

asio::awaitable<void, Strand> turn_away(State& state, Stream stream) {
  const Response response = state.handler.refuse(503, "too many connections", "");
  http::response<http::string_body> out(http::status::service_unavailable, 11);
  out.set(http::field::content_type, response.content_type);
  out.set(http::field::retry_after, "1");
  out.keep_alive(false);
  out.body() = response.body;
  out.prepare_payload();
  stream.expires_after(kLinger);
  co_await http::async_write(stream, out, kAwait);
  Code ignored;
  stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  std::array<char, 4096> waste;
  co_await stream.async_read_some(asio::buffer(waste), kAwait);
}

}  // namespace tamis::server
