#include "emulator.h"

#include <sys/mman.h>

#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "fiber.h"
#include "numeric/dtype.h"

namespace tamis::emulation {
namespace {

constexpr unsigned kLanes = 32;

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Thread {
  Fiber fiber;
  Place place;
  State state = State::kReady;
};

/// What the lanes of a warp tell each other: registers of all, read between two warp barriers.
struct Warp {
  std::array<std::array<uint32_t, 6>, kLanes> told{};
};

/// The block that runs on this thread of the host.
struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Thread* running = nullptr;
  FiberContext host;
  const std::function<void()>* body = nullptr;
  std::string problem;

  size_t number(const Thread& t) const { return static_cast<size_t>(&t - threads.data()); }
};

thread_local Block* block = nullptr;

void enter_thread() {
  (*block->body)();
  block->running->state = State::kDone;
  block->running->fiber.leave(block->host);
}

void wait(State state) {
  Thread& self = *block->running;
  self.state = state;
  self.fiber.yield(block->host);
}

std::string name(const Thread& t) {
  return "thread " + std::to_string(t.place.thread.x) + " of block (" +
         std::to_string(t.place.block.x) + ", " + std::to_string(t.place.block.y) + ", " +
         std::to_string(t.place.block.z) + ")";
}

/// Opens the barrier of threads [begin, end) if all have reached it. Returns whether it opened.
bool open_barrier(Block& b, size_t begin, size_t end, State barrier) {
  for (size_t i = begin; i < end; ++i) {
    if (b.threads[i].state != barrier) return false;
  }
  for (size_t i = begin; i < end; ++i) b.threads[i].state = State::kReady;
  return true;
}

/// Runs the lanes of a warp until all wait for other warps or have ended.
void run_warp(Block& b, size_t warp) {
  const size_t begin = warp * kLanes, end = std::min(begin + kLanes, b.threads.size());
  do {
    for (size_t i = begin; i < end; ++i) {
      if (b.threads[i].state != State::kReady) continue;
      b.running = &b.threads[i];
      b.running->fiber.resume(b.host);
    }
  } while (open_barrier(b, begin, end, State::kAtWarpBarrier));
}

/// Whether every thread has ended; fails if some never will.
bool finished(Block& b) {
  bool all = true;
  for (Thread& t : b.threads) all = all && t.state == State::kDone;
  if (all || open_barrier(b, 0, b.threads.size(), State::kAtBlockBarrier)) return all;
  for (Thread& t : b.threads) {
    if (t.state == State::kAtBlockBarrier) {
      b.problem = name(t) + " waits at __syncthreads for threads that never reach it";
      return true;
    }
    if (t.state == State::kAtWarpBarrier) {
      b.problem = name(t) + " shuffles with a lane that does not take part";
      return true;
    }
  }
  return false;
}

void run_block(Block& b, bool last_warp_first) {
  for (Thread& t : b.threads) {
    t.state = State::kReady;
    t.fiber.start(enter_thread);
  }
  const size_t warps = b.warps.size();
  do {
    for (size_t i = 0; i < warps; ++i) run_warp(b, last_warp_first ? warps - 1 - i : i);
  } while (!finished(b));
}

float half(uint32_t pair, size_t which, bool bf16) {
  const auto bits = static_cast<uint16_t>(which == 0 ? pair : pair >> 16);
  return bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

}  // namespace

Settings& settings() {
  static Settings all;
  return all;
}

std::string run(Index grid, Index block_dim, const std::function<void()>& body) {
  const size_t count = size_t{block_dim.x} * block_dim.y * block_dim.z;
  if (count == 0 || count > 1024) return "a block of " + std::to_string(count) + " threads";
  Block all;
  all.threads = std::vector<Thread>(count);
  all.warps = std::vector<Warp>((count + kLanes - 1) / kLanes);
  all.body = &body;
  Block* const outer = std::exchange(block, &all);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x && all.problem.empty(); ++x) {
        for (size_t i = 0; i < count; ++i) {
          const auto at = static_cast<unsigned>(i);
          all.threads[i].place = {
              {at % block_dim.x, at / block_dim.x % block_dim.y, at / block_dim.x / block_dim.y},
              {x, y, z},
              block_dim,
              grid};
        }
        run_block(all, settings().last_warp_first);
      }
    }
  }
  block = outer;
  return all.problem;
}

const Place& current() { return block->running->place; }

void block_barrier() { wait(State::kAtBlockBarrier); }

uint32_t shuffle_xor(unsigned, uint32_t value, int lane_mask) {
  const size_t at = block->number(*block->running), lane = at % kLanes;
  Warp& warp = block->warps[at / kLanes];
  warp.told[lane][0] = value;
  wait(State::kAtWarpBarrier);
  const uint32_t out = warp.told[lane ^ static_cast<size_t>(lane_mask)][0];
  wait(State::kAtWarpBarrier);
  return out;
}

void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16) {
  const size_t at = block->number(*block->running), lane = at % kLanes;
  auto& told = block->warps[at / kLanes].told;
  told[lane] = {a[0], a[1], a[2], a[3], b0, b1};
  wait(State::kAtWarpBarrier);
  // This lane holds rows lane / 4 and + 8, columns lane % 4 * 2 and + 1 of d.
  for (size_t i = 0; i < 4; ++i) {
    const size_t row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
    float sum = d[i];
    for (size_t k = 0; k < 16; ++k) {
      // a: lane (row % 8, k % 8 / 2), register by (row >= 8, k >= 8); b: lane (col, k % 8 / 2).
      const size_t a_lane = row % 8 * 4 + k % 8 / 2, b_lane = col * 4 + k % 8 / 2;
      const uint32_t x = told[a_lane][row / 8 + k / 8 * 2], y = told[b_lane][4 + k / 8];
      sum += half(x, k % 2, bf16) * half(y, k % 2, bf16);
    }
    d[i] = sum;
  }
  wait(State::kAtWarpBarrier);
}

}  // namespace tamis::emulation
