#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "batch/packed_batch.h"
#include "engine/replica.h"
#include "tamis/log.h"
#include "tamis/types.h"

namespace tamis {

/// What a call wants of its run.
struct RunOptions {
  size_t batch_tokens = 0;  ///< tokens of a batch; 0 = what suits the device
  Progress progress;        ///< called from the calling thread, never under a lock
  Outputs outputs;
  const Replica* only = nullptr;  ///< run on this replica alone
};

/// What a run gave: the numbers of sequence i, one sequence after the other.
struct RunResult {
  OutputLayout layout;
  std::vector<float> values;
  std::vector<size_t> offsets;  ///< [sequences + 1], into values

  SequenceOutput of(size_t i) const;
};

/// One queue, and a thread for each replica that takes the next batch from it when it is free.
///
/// A call's sequences are sorted by length, longest first; a batch is cut from them when a replica
/// asks for work. Several calls take turns, a batch each. With several replicas the batches become
/// smaller towards the end of the work, in proportion to how fast each replica has been, so that
/// all end together.
///
/// A batch for which a device has no memory is cut in two, down to one sequence, and the replica
/// takes smaller batches from then on; after a while it tries larger ones again. A replica whose
/// device fails is retired, and what it had begun runs elsewhere. A call fails when no replica is
/// left that could do its work, or when an error is not the device's.
///
/// Thread rule: any thread. Every wait ends: a replica's work does, by the timeout of its stream.
class Scheduler {
 public:
  explicit Scheduler(LogSink log);
  /// Waits for the batches that run. No call of run may be left.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// `layout` is that of options.outputs.
  /// Errors: those of Replica::run; unavailable (no replica is left: says what became of each).
  RunResult run(std::span<const SequenceView> sequences, const OutputLayout& layout,
                const PositionRule& rule, const RunOptions& options);

  /// Errors: resource_exhausted (no thread).
  void add(std::shared_ptr<Replica> replica);
  /// Takes them out of service: returns when the batches that they have begun are done, and they
  /// are no longer referred to here. Work that is queued stays. `moving`: replicas will be added,
  /// so calls wait instead of failing when none is left, until end_move.
  void remove(std::span<const std::shared_ptr<Replica>> replicas, bool moving);
  void end_move();

  std::vector<std::shared_ptr<Replica>> replicas() const;  ///< in service
  std::vector<Placement> placement() const;                ///< retired ones too
  /// Forgets the retired ones.
  void clear_retired();
  /// Asks every replica to give back the memory of batches, when it is between two; waits.
  size_t trim();

 private:
  struct Job;
  struct Slice;
  struct Worker;

  void work(Worker& worker);
  bool take(Worker& worker, std::shared_ptr<Job>& job, Slice& slice);
  static Slice cut(const Job& job, std::span<const size_t> tickets, size_t budget);
  bool cut_returned(Worker& worker, Job& job, Slice& slice);
  bool cut_new(Worker& worker, Job& job, Slice& slice);
  size_t budget(const Worker& worker, const Job& job) const;
  void run_slice(Worker& worker, const std::shared_ptr<Job>& job, Slice slice,
                 std::unique_lock<std::mutex>& lock);
  void done(Worker& worker, Job& job, const Slice& slice, double ms);
  void out_of_memory(Worker& worker, Job& job, Slice slice, const std::string& message);
  void retire(Worker& worker, Job& job, Slice slice, const std::string& message);
  void give_back(Job& job, Slice slice);
  /// Ends the calls that no replica can serve any more.
  void fail_stranded();
  std::exception_ptr stranded(const Job& job) const;
  void fail_job(Job& job, std::exception_ptr error);
  size_t in_service() const;
  std::string epitaphs() const;

  LogSink log_;
  mutable std::mutex mutex_;
  std::condition_variable work_;     ///< there is work, or a worker should leave
  std::condition_variable changed_;  ///< of a worker: it has left, or trimmed
  std::list<std::shared_ptr<Job>> jobs_;
  std::list<std::unique_ptr<Worker>> workers_;
  std::vector<Placement> retired_;
  bool moving_ = false;
  uint64_t next_id_ = 1;
};

}  // namespace tamis
