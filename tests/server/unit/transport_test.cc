// HttpServer with a handler of the test's: what a handler is told, and what it cannot break.

#include "transport/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../unit/io/io_test_util.h"

namespace tamis::server {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Finished {
  RequestHead head;
  int status;
};

/// /wait answers when it may or is asked to stop; /deaf only when it may; /hold as that, but on the
/// I/O thread; /now there, too.
class Recorder final : public Handler {
 public:
  Admission admit(const RequestHead& head) override {
    Admission out;
    if (head.path == "/now" || head.path == "/hold") out.kind = Admission::Kind::kAtOnce;
    return out;
  }
  Response answer(Request request) override {
    ++begun;
    if (request.path == "/throw") throw std::runtime_error("a defect");
    if (request.path == "/wait" || request.path == "/deaf" || request.path == "/hold") {
      const std::stop_token none;
      wait(request.path == "/wait" ? request.stop : none);
    }
    Response out;
    out.body = request.body.empty() ? "{}" : request.body;
    if (request.path == "/inject") {
      out.content_type = "text/plain\r\nX-Type: 1";
      out.headers.add("X-A\r\nX-B", "1");
      out.headers.add("X-C", "1\r\nX-D: 2");
      out.headers.add("X-Good", "1");
    }
    return out;
  }
  Response refuse(int status, std::string_view message, std::string_view) override {
    if (refuse_throws.exchange(false)) throw std::runtime_error("a defect of the defect");
    return {status, "text/plain", std::string(message), {}, false};
  }
  void finished(const RequestHead& head, int status, size_t) override {
    const std::lock_guard lock(mutex_);
    finished_.push_back({head, status});
    changed_.notify_all();
  }

  void go() {
    const std::lock_guard lock(mutex_);
    go_ = true;
    changed_.notify_all();
  }
  /// The `count`-th request that was finished.
  Finished wait_finished(size_t count = 1) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, 20s, [&] { return finished_.size() >= count; })) return {{}, 0};
    return finished_[count - 1];
  }
  void wait_begun(int count = 1) {
    while (begun < count) std::this_thread::sleep_for(1ms);
  }

  std::atomic<int> begun{0};
  std::atomic<bool> refuse_throws{false};

 private:
  void wait(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return go_; });
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool go_ = false;
  std::vector<Finished> finished_;
};

class Client {
 public:
  explicit Client(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(const std::string& text) {
    EXPECT_EQ(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  /// Everything until the server closes.
  std::string all() {
    std::string out;
    char piece[4096];
    for (ssize_t n = 0; (n = ::recv(fd_, piece, sizeof piece, 0)) > 0;) out.append(piece, n);
    return out;
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

std::string get(const std::string& path, const std::string& more = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n";
}

class Transport : public testing::Test {
 protected:
  /// Starts at the first call.
  HttpServer& server() {
    if (!server_) {
      if (options.listeners.empty()) options.listeners.emplace_back();
      server_ = std::make_unique<HttpServer>(options, handler);
    }
    return *server_;
  }
  uint16_t port() { return server().ports().front(); }
  std::string exchange(const std::string& request) {
    Client client(port());
    client.send(request);
    return client.all();
  }

  ServerOptions options;
  Recorder handler;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Transport, TellsAtTheEndWhatWasAskedInFull) {
  const auto before = Clock::now();
  exchange(get("/a%20b?q=1", "X-Mine: yes\r\nConnection: close\r\n"));
  const Finished done = handler.wait_finished();
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(done.head.method, "GET");
  EXPECT_EQ(done.head.path, "/a b");
  EXPECT_EQ(done.head.query, "q=1");
  EXPECT_EQ(done.head.headers.get("x-mine"), "yes");
  EXPECT_GE(done.head.received, before);
  EXPECT_EQ(done.head.peer.address, "127.0.0.1");
}

TEST_F(Transport, AClientThatLeftIsToldAs499) {
  Client client(port());
  client.send(get("/wait"));
  handler.wait_begun();
  client.close();
  EXPECT_EQ(handler.wait_finished().status, 499);
  EXPECT_EQ(server().counters().clients_gone, 1u);
}

TEST_F(Transport, WhatAHandlerThrowsIsThe500OfThatRequestAlone) {
  EXPECT_TRUE(exchange(get("/throw", "Connection: close\r\n")).starts_with("HTTP/1.1 500"));
  handler.refuse_throws = true;
  EXPECT_TRUE(exchange(get("/throw")).starts_with("HTTP/1.1 503"));
  EXPECT_TRUE(exchange(get("/", "Connection: close\r\n")).starts_with("HTTP/1.1 200"));
}

TEST_F(Transport, AConnectionThatThrowsEndsAndIsForgotten) {
  handler.refuse_throws = true;
  EXPECT_EQ(exchange("nonsense\r\n\r\n"), "");
  EXPECT_TRUE(exchange(get("/", "Connection: close\r\n")).starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(server().stop(20'000));
}

TEST_F(Transport, NoHeaderOfAnAnswerCarriesALineOfItsOwn) {
  const std::string answer = exchange(get("/inject", "Connection: close\r\n"));
  for (const char* bad : {"X-Type", "X-A", "X-B", "X-C", "X-D"}) {
    EXPECT_EQ(answer.find(bad), std::string::npos) << bad << " in " << answer;
  }
  EXPECT_NE(answer.find("X-Good: 1"), std::string::npos);
}

/// Requests whose length two readers might understand in two ways.
TEST_F(Transport, RefusesLengthsAndCodingsThatAreNotPlain) {
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\n";
  for (const std::string& request : {
           post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: identity\r\n\r\n",
           post + "Content-Length: 3, 3\r\n\r\nabc",
           post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
           post + "Content-Length: +3\r\n\r\nabc",
           std::string("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
       }) {
    const std::string answer = exchange(request);
    EXPECT_EQ(answer.substr(0, 6), "HTTP/1") << request;
    EXPECT_EQ(answer.substr(8, 5), " 400 ") << request << answer;
  }
  EXPECT_EQ(handler.begun, 0);
}

TEST_F(Transport, TheLimitOfAHeaderIsOfAllItsLines) {
  options.limits.header_bytes = 2000;
  Client client(port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n");
  for (int i = 0; i < 21; ++i) {
    client.send("X-Drop: " + std::string(90, 'a') + "\r\n");
    std::this_thread::sleep_for(2ms);  // one by one, as a slow client would
  }
  EXPECT_TRUE(client.all().starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(exchange(get("/", "X: " + std::string(1800, 'a') + "\r\nConnection: close\r\n"))
                  .starts_with("HTTP/1.1 200"));
}

TEST_F(Transport, AClaimOfALargeBodyTakesNothingFromOthers) {
  options.limits.bodies_bytes = 100'000;
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n";
  std::vector<std::unique_ptr<Client>> claimants;
  for (int i = 0; i < 8; ++i) {
    claimants.push_back(std::make_unique<Client>(port()));
    claimants.back()->send(post + "\r\n{");
  }
  std::this_thread::sleep_for(50ms);
  const std::string body(90'000, 'b');
  EXPECT_TRUE(exchange(post + "Connection: close\r\n\r\n" + body).starts_with("HTTP/1.1 200"));
}

TEST_F(Transport, ADrainAnswersARequestThatHasComeOnAnIdleConnection) {
  Client busy(port()), idle(port());
  idle.send(get("/now"));
  handler.wait_finished();
  // The one I/O thread is held up while the request comes and the drain begins.
  busy.send(get("/hold"));
  handler.wait_begun(2);
  idle.send(get("/now"));
  std::thread stopping([&] { EXPECT_TRUE(server().stop(20'000)); });
  std::this_thread::sleep_for(50ms);
  handler.go();
  const std::string answers = idle.all();
  stopping.join();
  EXPECT_NE(answers.find("HTTP/1.1 200", 10), std::string::npos) << answers;
}

TEST_F(Transport, ACutEndsADrainThatWaitsAndAsksTheHandlerToStop) {
  Client client(port());
  client.send(get("/wait"));
  handler.wait_begun();
  std::thread cutting([&] {
    std::this_thread::sleep_for(100ms);
    server().cut(0);
  });
  const auto started = Clock::now();
  EXPECT_FALSE(server().stop(60'000));
  EXPECT_LT(Clock::now() - started, 20s);
  cutting.join();
}

TEST_F(Transport, AHandlerThatIsDeafToItsStopTokenIsWaitedFor) {
  Client client(port());
  client.send(get("/deaf"));
  handler.wait_begun();
  std::thread going([&] {
    std::this_thread::sleep_for(200ms);
    handler.go();
  });
  EXPECT_FALSE(server().stop(0));
  going.join();
}

/// Connections that are accepted while the server stops are in nobody's list yet.
TEST_F(Transport, AConnectionThatComesAsItStopsIsClosedAndLeavesNothing) {
  options.listeners.emplace_back();
  const auto started = Clock::now();
  for (int i = 0; i < 50; ++i) {
    auto stopping = std::make_unique<HttpServer>(options, handler);
    Client client(stopping->ports().front());
    stopping.reset();
    EXPECT_EQ(client.all(), "");
  }
  EXPECT_LT(Clock::now() - started, 20s);
}

class UnixTransport : public Transport {
 protected:
  UnixTransport() {
    options.listeners.emplace_back().unix_socket = path;
    server();
  }

  const io::TempDir dir;
  const std::filesystem::path path = dir.path() / "s";
  Recorder other;
};

TEST_F(UnixTransport, ASocketFileOfAnotherServerIsLeftWhereItIs) {
  std::filesystem::remove(path);
  HttpServer second(options, other);
  server().stop(0);
  EXPECT_TRUE(std::filesystem::exists(path));
  second.stop(0);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(UnixTransport, ASocketFileThatSomebodyListensOnIsNotTaken) {
  EXPECT_ERROR(HttpServer(options, other), kUnavailable, path.string(), "in use");
  EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace tamis::server
