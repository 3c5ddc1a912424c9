// A star of TCP connections: rank 0 hears all, and tells all.

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/fail.h"
#include "train/collective.h"

namespace tamis::training {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kMagic = 0x736d6174;  // "tams"
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMostBytes = uint64_t{1} << 32;  // of a message; more is no message of ours
constexpr std::chrono::seconds kHelloPatience{2};   // for a process that may be none of ours

enum class Call : uint32_t { kHello, kGather, kSum, kResult };

struct Header {
  uint32_t magic = kMagic;
  Call call = Call::kHello;
  uint64_t bytes = 0;
};

struct Hello {
  uint32_t version = kVersion;
  int32_t rank = 0;
  int32_t size = 0;
};

/// A connection. Errors: unavailable.
class Socket {
 public:
  Socket() = default;
  Socket(int fd, std::string peer) : fd_(fd), peer_(std::move(peer)) {
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  Socket(Socket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), peer_(std::move(other.peer_)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(peer_, other.peer_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void set_peer(std::string peer) { peer_ = std::move(peer); }

  void send(Call call, std::span<const std::byte> data, Clock::time_point until) const {
    const Header header{kMagic, call, data.size()};
    send_all(std::as_bytes(std::span(&header, 1)), until);
    send_all(data, until);
  }
  std::vector<std::byte> receive(Call call, Clock::time_point until,
                                 uint64_t most = kMostBytes) const {
    Header header;
    receive_all(std::as_writable_bytes(std::span(&header, 1)), until);
    if (header.magic != kMagic || header.call != call || header.bytes > most) {
      fail(ErrorCode::kInternal, "{}: expected call {} of a run, got call {} with {} bytes", peer_,
           static_cast<uint32_t>(call), static_cast<uint32_t>(header.call), header.bytes);
    }
    std::vector<std::byte> out(header.bytes);
    receive_all(out, until);
    return out;
  }

 private:
  void wait(short events, Clock::time_point until) const {
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
      if (left <= 0) fail(ErrorCode::kUnavailable, "{}: no answer within the timeout", peer_);
      pollfd p{fd_, events, 0};
      const int ready = poll(&p, 1, static_cast<int>(std::min<long long>(left, 60'000)));
      if (ready > 0) return;
      if (ready < 0 && errno != EINTR) broken("poll");
    }
  }
  [[noreturn]] void broken(const char* what) const {
    fail(ErrorCode::kUnavailable,
         "{}: {}: {}; a run goes on from its newest checkpoint "
         "(resume_from_checkpoint)",
         peer_, what, std::strerror(errno));
  }
  void send_all(std::span<const std::byte> data, Clock::time_point until) const {
    while (!data.empty()) {
      wait(POLLOUT, until);
      const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EINTR && errno != EAGAIN) broken("cannot send");
      if (n > 0) data = data.subspan(static_cast<size_t>(n));
    }
  }
  void receive_all(std::span<std::byte> data, Clock::time_point until) const {
    while (!data.empty()) {
      wait(POLLIN, until);
      const ssize_t n = ::recv(fd_, data.data(), data.size(), MSG_DONTWAIT);
      if (n == 0) {
        fail(ErrorCode::kUnavailable,
             "{}: has ended; a run goes on from its newest checkpoint (resume_from_checkpoint)",
             peer_);
      }
      if (n < 0 && errno != EINTR && errno != EAGAIN) broken("cannot receive");
      if (n > 0) data = data.subspan(static_cast<size_t>(n));
    }
  }

  int fd_ = -1;
  std::string peer_;
};

struct Addresses {
  addrinfo* list = nullptr;
  ~Addresses() {
    if (list != nullptr) freeaddrinfo(list);
  }
};

/// getaddrinfo's error, or 0.
int resolve(const char* host, int port, int flags, Addresses& out) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  return getaddrinfo(host, std::to_string(port).c_str(), &hints, &out.list);
}

int open_socket(const addrinfo& a, int flags) {
  return socket(a.ai_family, a.ai_socktype | SOCK_CLOEXEC | flags, a.ai_protocol);
}

/// Listens at the address if it is the loopback's own; else on all of this machine's, as torch
/// does: a name may be that of a service, or mean the loopback on this machine alone.
Socket listen_at(const TrainRanks& ranks) {
  const std::string& address = ranks.address;
  const bool loopback = address == "localhost" || address == "::1" || address.starts_with("127.");
  Addresses addresses;
  const int unknown =
      resolve(loopback ? address.c_str() : nullptr, ranks.port, AI_PASSIVE, addresses);
  std::string why = unknown == 0 ? "" : gai_strerror(unknown);
  for (const int family : {AF_INET6, AF_INET}) {  // the first serves both
    for (const addrinfo* a = addresses.list; a != nullptr; a = a->ai_next) {
      if (a->ai_family != family) continue;
      const int fd = open_socket(*a, 0);
      if (fd < 0) continue;
      const int on = 1, off = 0;
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, ranks.size) == 0) {
        return {fd, "listening"};
      }
      why = std::strerror(errno);
      close(fd);
    }
  }
  fail(ErrorCode::kUnavailable, "rank 0 cannot listen at {}:{}: {}", address, ranks.port, why);
}

/// One try. -1, and why.
int try_to_connect(const addrinfo& a, Clock::time_point until, std::string& why) {
  const int fd = open_socket(a, SOCK_NONBLOCK);
  if (fd < 0) return -1;
  int error = connect(fd, a.ai_addr, a.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    // Packets may be dropped without an answer.
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
    pollfd p{fd, POLLOUT, 0};
    socklen_t size = sizeof error;
    if (poll(&p, 1, static_cast<int>(std::clamp<long long>(left.count(), 1, 5'000))) <= 0) {
      error = ETIMEDOUT;
    } else {
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error == 0) return fd;
  why = std::strerror(error);
  close(fd);
  return -1;
}

/// Tries until somebody listens, and until the name is known: rank 0 may not be there yet.
Socket connect_to(const TrainRanks& ranks, Clock::time_point until) {
  for (;;) {
    Addresses addresses;
    const int unknown = resolve(ranks.address.c_str(), ranks.port, 0, addresses);
    std::string why = unknown == 0 ? "" : gai_strerror(unknown);
    for (const addrinfo* a = addresses.list; a != nullptr; a = a->ai_next) {
      const int fd = try_to_connect(*a, until, why);
      if (fd >= 0) return {fd, "rank 0"};
    }
    if (Clock::now() >= until) {
      fail(ErrorCode::kUnavailable, "rank {} finds no rank 0 at {}:{}: {}", ranks.rank,
           ranks.address, ranks.port, why);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

class TcpRanks : public Collective {
 public:
  explicit TcpRanks(const TrainRanks& ranks)
      : rank_(ranks.rank), size_(ranks.size), timeout_(seconds(ranks.timeout_s)) {
    const auto until = Clock::now() + timeout_;
    if (rank_ == 0) {
      accept_all(ranks, until);
    } else {
      join(ranks, until);
    }
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override {
    const auto until = Clock::now() + timeout_;
    if (rank_ != 0) {
      peers_[0].send(Call::kGather, mine, until);
      std::vector<std::vector<std::byte>> out;
      for (int r = 0; r < size_; ++r) out.push_back(peers_[0].receive(Call::kResult, until));
      return out;
    }
    std::vector<std::vector<std::byte>> out = {{mine.begin(), mine.end()}};
    for (int r = 1; r < size_; ++r) out.push_back(peer(r).receive(Call::kGather, until));
    for (int r = 1; r < size_; ++r) {
      for (const auto& part : out) peer(r).send(Call::kResult, part, until);
    }
    return out;
  }

  void sum(std::span<float> x) override {
    const auto until = Clock::now() + timeout_;
    if (rank_ != 0) {
      peers_[0].send(Call::kSum, std::as_bytes(x), until);
      const auto result = receive_numbers(peers_[0], Call::kResult, x.size(), until);
      std::memcpy(x.data(), result.data(), result.size());
      return;
    }
    for (int r = 1; r < size_; ++r) {
      const auto part = receive_numbers(peer(r), Call::kSum, x.size(), until);
      const auto* values = reinterpret_cast<const float*>(part.data());
      for (size_t i = 0; i < x.size(); ++i) x[i] += values[i];
    }
    for (int r = 1; r < size_; ++r) peer(r).send(Call::kResult, std::as_bytes(x), until);
  }

 private:
  static Clock::duration seconds(double s) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
  }
  Socket& peer(int rank) { return peers_[static_cast<size_t>(rank)]; }

  static std::vector<std::byte> receive_numbers(const Socket& from, Call call, size_t count,
                                                Clock::time_point until) {
    std::vector<std::byte> out = from.receive(call, until);
    if (out.size() != count * sizeof(float)) {
      fail(ErrorCode::kInternal, "the ranks of a run add {} and {} bytes", count * sizeof(float),
           out.size());
    }
    return out;
  }

  void accept_all(const TrainRanks& ranks, Clock::time_point until) {
    const Socket door = listen_at(ranks);
    peers_.resize(static_cast<size_t>(size_));
    for (int missing = size_ - 1; missing > 0;) {
      pollfd p{door.fd(), POLLIN, 0};
      if (Clock::now() >= until) {
        fail(ErrorCode::kUnavailable, "{} of the {} ranks did not come to {}:{} within {} s",
             missing, size_, ranks.address, ranks.port, ranks.timeout_s);
      }
      if (poll(&p, 1, 200) <= 0) continue;
      const int fd = accept4(door.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0 && welcome(Socket(fd, "a process that came"), until)) --missing;
    }
  }

  /// Whether it is one of ours. A stranger is let go; one of ours that cannot take part is told.
  bool welcome(Socket socket, Clock::time_point until) {
    Hello hello;
    try {
      const auto bytes = socket.receive(
          Call::kHello, std::min(until, Clock::now() + kHelloPatience), sizeof hello);
      if (bytes.size() != sizeof hello) return false;
      std::memcpy(&hello, bytes.data(), sizeof hello);
    } catch (const Error&) {
      return false;
    }
    std::string complaint;
    if (hello.version != kVersion) {
      complaint = "another version of Tamis";
    } else if (hello.size != size_ || hello.rank < 1 || hello.rank >= size_) {
      complaint = fmt::format("rank {} of {} comes to a run of {}", hello.rank, hello.size, size_);
    } else if (peer(hello.rank)) {
      complaint = fmt::format("there is a rank {} already", hello.rank);
    }
    try {
      socket.send(Call::kResult, bytes_of(complaint), until);
    } catch (const Error&) {
      return false;
    }
    if (!complaint.empty()) return false;
    socket.set_peer(fmt::format("rank {}", hello.rank));
    peer(hello.rank) = std::move(socket);
    return true;
  }

  void join(const TrainRanks& ranks, Clock::time_point until) {
    peers_.push_back(connect_to(ranks, until));
    const Hello hello{kVersion, rank_, size_};
    peers_[0].send(Call::kHello, std::as_bytes(std::span(&hello, 1)), until);
    const auto answer = peers_[0].receive(Call::kResult, until);
    if (!answer.empty()) {
      fail(ErrorCode::kInvalidArgument, "rank 0 at {}:{}: {}", ranks.address, ranks.port,
           std::string_view(reinterpret_cast<const char*>(answer.data()), answer.size()));
    }
  }

  int rank_, size_;
  Clock::duration timeout_;
  std::vector<Socket> peers_;  ///< of rank 0: by rank; of the others: rank 0
};

}  // namespace

std::shared_ptr<Collective> connect_ranks(const TrainRanks& ranks) {
  if (ranks.size < 1 || ranks.rank < 0 || ranks.rank >= ranks.size) {
    fail(ErrorCode::kInvalidArgument, "rank {} of {}: expected a rank from 0 to below their number",
         ranks.rank, ranks.size);
  }
  if (ranks.size == 1) return std::make_shared<Alone>();
  if (ranks.port < 1 || ranks.port > 65535) {
    fail(ErrorCode::kInvalidArgument, "port {}: expected a number from 1 to 65535", ranks.port);
  }
  return std::make_shared<TcpRanks>(ranks);
}

}  // namespace tamis::training
