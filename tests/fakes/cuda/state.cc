// The machine itself: cards, their memory, and the queue of commands.

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "fake_cuda.h"

namespace tamis::fakes {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr int kGuard = 0xFE;

void open_region(Card& card) {
  // Freed memory is not used again at once: room for what a card never has at one time.
  card.region_bytes = card.memory * 2 + (size_t{16} << 20);
  void* p = mmap(nullptr, card.region_bytes, state().protect ? PROT_NONE : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::runtime_error("fake_cuda: no addresses for a card's memory");
  card.region = static_cast<std::byte*>(p);
}

void check_guards(Card& card, const std::string& after) {
  for (const auto& [data, bytes] : card.allocations) {
    for (size_t i = 0; i < kGuardBytes; ++i) {
      if (data[bytes + i] == std::byte{kGuard}) continue;
      complain(after + " wrote behind the end of an allocation of " + std::to_string(bytes) +
               " bytes");
      std::memset(data + bytes, kGuard, kGuardBytes);
    }
  }
}

/// "64MiB" and the like.
size_t parse_bytes(const std::string& text) {
  char* unit = nullptr;
  const auto n = static_cast<size_t>(std::strtoull(text.c_str(), &unit, 10));
  const std::string u = unit;
  return n << (u == "KiB" ? 10 : u == "MiB" ? 20 : u == "GiB" ? 30 : 0);
}

void read_environment(FakeCuda& f) {
  int devices = 1, capability = 80;
  size_t memory = size_t{1} << 30;
  std::string rest =
      std::getenv("TAMIS_FAKE_CUDA") != nullptr ? std::getenv("TAMIS_FAKE_CUDA") : "";
  while (!rest.empty()) {
    const std::string part = rest.substr(0, rest.find(','));
    rest.erase(0, part.size() + 1);
    const std::string key = part.substr(0, part.find('=')), value = part.substr(key.size() + 1);
    if (key == "devices") devices = std::stoi(value);
    if (key == "capability") capability = std::stoi(value);
    if (key == "memory") memory = parse_bytes(value);
    if (key == "seed") f.random.seed(static_cast<unsigned>(std::stoul(value)));
    if (key == "order") f.last_warp_first = value == "last";
    if (key == "compute") f.compute = value != "off";
    if (key == "driver") f.driver = static_cast<cudaError_t>(std::stoi(value));
  }
  f.reset(devices, memory, capability);
}

}  // namespace

FakeCuda& state() {
  static FakeCuda* const fake = [] {
    auto* out = new FakeCuda;  // never destroyed: others' destructors may still call
    return out;
  }();
  static const bool read = (read_environment(*fake), true);
  (void)read;
  return *fake;
}

void FakeCuda::reset(int count, size_t memory, int capability) {
  const std::lock_guard lock(mutex);
  for (const auto& card : cards) munmap(card->region, card->region_bytes);
  cards.clear();
  for (int i = 0; i < count; ++i) {
    auto card = std::make_unique<Card>();
    card->index = i;
    card->name = "Fake GPU " + std::to_string(i);
    card->memory = memory;
    card->capability = capability;
    cards.push_back(std::move(card));
  }
  fail_allocation = break_at_command = 0;
  fail_allocations_after = false;
  driver = cudaSuccess;
  complaints.clear();
  clear_counts();
}

void FakeCuda::clear_counts() {
  calls.clear();
  launches.clear();
  uploads = downloads = graph_launches = products = heuristics = 0;
}

std::string FakeCuda::leaks() const {
  std::string out;
  const auto add = [&](size_t n, const char* what) {
    if (n > 0) out += std::to_string(n) + " " + what + " ";
  };
  for (const auto& card : cards) {
    add(card->allocations.size(), "allocations");
    add(card->streams.size(), "streams");
  }
  add(pinned.size(), "pinned allocations");
  add(events.size(), "events");
  add(graphs.size(), "graphs");
  add(graph_execs.size(), "instantiated graphs");
  add(handles.size(), "cublasLt objects");
  return out;
}

void complain(const std::string& text) { state().complaints.push_back(text); }

Card* card_of(cudaStream_t stream) {
  for (const auto& card : state().cards) {
    if (card->streams.count(reinterpret_cast<FakeStream*>(stream)) > 0) return card.get();
  }
  return nullptr;
}

bool owns(const Card& card, const void* p, size_t bytes) {
  auto* at = static_cast<std::byte*>(const_cast<void*>(p));
  auto it = card.allocations.upper_bound(at);
  if (it == card.allocations.begin()) return false;
  --it;
  const auto offset = static_cast<size_t>(at - it->first);
  return offset <= it->second && bytes <= it->second - offset;
}

cudaError_t enqueue(cudaStream_t stream, Command command) {
  Card* card = card_of(stream);
  if (card == nullptr) {
    complain(command.what + ": no such stream");
    return cudaErrorInvalidResourceHandle;
  }
  if (card->broken != cudaSuccess) return card->broken;
  if (!command.run) return cudaSuccess;  // takes no time
  auto* s = reinterpret_cast<FakeStream*>(stream);
  if (s->capture != nullptr) {
    s->capture->push_back(std::move(command));
  } else {
    s->queue.push_back(std::move(command));
  }
  return cudaSuccess;
}

bool step(Card& card) {
  FakeCuda& f = state();
  std::vector<FakeStream*> ready;
  for (FakeStream* s : card.streams) {
    if (!s->queue.empty() && (!s->queue.front().after || s->queue.front().after->done)) {
      ready.push_back(s);
    }
  }
  if (ready.empty() || card.broken != cudaSuccess) return false;
  FakeStream& s = *ready[f.random() % ready.size()];
  const Command command = std::move(s.queue.front());
  s.queue.pop_front();
  if (f.break_at_command > 0 && --f.break_at_command == 0) {
    card.broken = f.break_with;
    return false;
  }
  if (card.region != nullptr && f.protect) {
    mprotect(card.region, card.region_bytes, PROT_READ | PROT_WRITE);
  }
  command.run();
  ++card.done;
  if (card.region != nullptr && f.compute) check_guards(card, command.what);
  if (card.region != nullptr && f.protect) mprotect(card.region, card.region_bytes, PROT_NONE);
  return true;
}

namespace {

/// First fit; the card's own count says when it is full.
std::byte* find_place(Card& card, size_t bytes) {
  std::byte* at = card.region;
  for (const auto& [data, size] : card.allocations) {
    if (static_cast<size_t>(data - at) >= bytes) return at;
    at = data + (size + kGuardBytes + 255) / 256 * 256;
  }
  return static_cast<size_t>(card.region + card.region_bytes - at) >= bytes ? at : nullptr;
}

/// Fills memory that the host may not touch otherwise.
void fill(Card& card, std::byte* data, int value, size_t bytes) {
  if (state().protect) mprotect(card.region, card.region_bytes, PROT_READ | PROT_WRITE);
  std::memset(data, value, bytes);
  if (state().protect) mprotect(card.region, card.region_bytes, PROT_NONE);
}

}  // namespace

// Used by cudart.cc.
std::byte* allocate(Card& card, size_t bytes) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  if (rounded > card.memory - card.used) return nullptr;
  if (card.region == nullptr) open_region(card);
  std::byte* data = find_place(card, rounded + kGuardBytes);
  if (data == nullptr) return nullptr;
  card.used += rounded;
  card.allocations[data] = bytes;
  fill(card, data, state().compute ? 0xFF : 0,
       bytes);  // 0: results that nobody computes are finite
  fill(card, data + bytes, kGuard, kGuardBytes);
  return data;
}

void release(Card& card, std::byte* data) {
  const size_t bytes = card.allocations.at(data);
  fill(card, data, 0xFF, bytes);
  card.allocations.erase(data);
  card.used -= (bytes + 255) / 256 * 256;
}

}  // namespace tamis::fakes

extern "C" tamis::fakes::FakeCuda* fake_cuda() { return &tamis::fakes::state(); }

extern "C" void fake_cuda_register_twin(const char* name, size_t argument_bytes,
                                        void (*run)(const void*, dim3, dim3)) {
  tamis::fakes::state().twins[name] = {argument_bytes, run};
}
