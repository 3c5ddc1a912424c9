#pragma once

// What the scheduler keeps of calls and replicas; guarded by its mutex except where noted.

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/scheduler.h"

namespace tamis {

/// Sequences that were taken out of a job to run together.
struct Scheduler::Slice {
  std::vector<size_t> tickets;
  size_t tokens = 0;
  std::vector<uint64_t> failed_on;  ///< workers with no memory even for this one sequence
};

/// One call of run.
struct Scheduler::Job {
  std::span<const SequenceView> sequences;
  Outputs outputs;
  PositionRule rule;
  size_t batch_tokens = 0;
  const Replica* only = nullptr;

  std::vector<size_t> order;   ///< tickets, longest sequence first
  size_t next = 0;             ///< order[next..] was not taken yet
  std::deque<Slice> returned;  ///< taken, and given back
  size_t open_tokens = 0;      ///< of what can be taken
  size_t unfinished = 0;       ///< sequences
  size_t running = 0;          ///< slices
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
  size_t trimmed_bytes = 0;

  size_t budget = 0;  ///< tokens of a batch, learned by running out of memory; 0 = no such limit
  bool raised = false;
  size_t full_batches = 0;  ///< since the budget changed
  size_t raise_after = 16;  ///< full batches; twice that each time that raising failed
  double tokens_per_ms = 0;

  uint64_t batches = 0, tokens = 0, out_of_memory = 0;
  double busy_ms = 0;

  bool in_service() const { return !leaving && !retired; }
  bool failed(const Slice& slice) const {
    return std::find(slice.failed_on.begin(), slice.failed_on.end(), id) != slice.failed_on.end();
  }
};

}  // namespace tamis
