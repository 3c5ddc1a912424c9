#pragma once

// What the scheduler keeps of calls and replicas; guarded by its mutex except where noted.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/scheduler.h"

namespace tamis {

/// Sequences of one job that run together.
struct Scheduler::Piece {
  std::vector<size_t> tickets;
  size_t tokens = 0;
  std::vector<uint64_t> failed_on;  ///< workers with no memory even for this one sequence
  bool alone = false;               ///< not in a batch with another job's
};

struct Scheduler::Part {
  std::shared_ptr<Job> job;
  Piece piece;
};

/// What makes one batch; the jobs are different ones, and want the same outputs.
struct Scheduler::Slice {
  std::vector<Part> parts;
  size_t tokens = 0;
  size_t sequences = 0;
  size_t longest = 0;  ///< tokens of a sequence
  size_t budget = 0;   ///< tokens that there was room for

  std::vector<std::shared_ptr<Job>> jobs() const {
    std::vector<std::shared_ptr<Job>> out;
    for (const Part& part : parts) out.push_back(part.job);
    return out;
  }
  void add(std::shared_ptr<Job> job, Piece piece) {
    tokens += piece.tokens;
    sequences += piece.tickets.size();
    parts.push_back({std::move(job), std::move(piece)});
  }
};

/// One call of run.
struct Scheduler::Job {
  std::span<const SequenceView> sequences;
  Outputs outputs;
  PositionRule rule;
  size_t batch_tokens = 0;
  const Replica* only = nullptr;
  int priority = 0;

  std::vector<size_t> order;   ///< tickets, longest sequence first
  size_t next = 0;             ///< order[next..] was not taken yet
  std::deque<Piece> returned;  ///< taken, and given back
  size_t open_tokens = 0;      ///< of what can be taken
  size_t unfinished = 0;       ///< sequences
  size_t running = 0;          ///< pieces of it, in batches
  int passed_over = 0;         ///< batches that others got while it waited
  std::chrono::steady_clock::time_point queued;
  bool begun = false;
  std::exception_ptr error;
  RunResult result;  ///< the numbers of running slices belong to their workers
  std::condition_variable changed;

  bool over() const { return running == 0 && (error || unfinished == 0); }
};

/// A replica in service, and its thread.
struct Scheduler::Worker {
  uint64_t id = 0;
  std::shared_ptr<Replica> replica;
  std::thread thread;
  bool leaving = false;
  bool retired = false;
  bool gone = false;  ///< the thread has done its last work
  bool trim_asked = false;
  bool busy = false;
  size_t trimmed_bytes = 0;

  size_t budget = 0;  ///< tokens of a batch, learned by running out of memory; 0 = no such limit
  bool raised = false;
  size_t full_batches = 0;  ///< since the budget changed
  size_t raise_after = 16;  ///< full batches; twice that each time that raising failed
  double tokens_per_ms = 0;

  uint64_t batches = 0, tokens = 0, out_of_memory = 0;
  double busy_ms = 0;

  bool in_service() const { return !leaving && !retired; }
  bool failed(const Piece& piece) const {
    return std::find(piece.failed_on.begin(), piece.failed_on.end(), id) != piece.failed_on.end();
  }
};

}  // namespace tamis
