#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "batch/packed_batch.h"
#include "engine/replica.h"
#include "tamis/log.h"
#include "tamis/place.h"
#include "tamis/types.h"

namespace tamis {

/// What a call wants of its run.
struct RunOptions {
  size_t batch_tokens = 0;  ///< tokens of a batch; 0 = what suits the device
  Progress progress;        ///< called from the calling thread, never under a lock
  Outputs outputs = {};
  const Replica* only = nullptr;  ///< run on this replica alone
  CallControl call = {};
};

/// What a run gave: the numbers of sequence i, one sequence after the other.
struct RunResult {
  OutputLayout layout;
  std::vector<float> values;
  std::vector<size_t> offsets;  ///< [sequences + 1], into values
  double queue_ms = 0;          ///< until the first batch began

  SequenceOutput of(size_t i) const;
};

/// One queue, and a thread for each replica that takes the next batch from it when it is free.
///
/// A call's sequences are sorted by length, longest first; a batch is cut from them when a replica
/// asks for work. Where several calls wait, the one of the highest priority goes first, and among
/// equals the one with the fewest tokens left; but none is passed over more than kPatience times.
/// A batch that one call does not fill is filled from the others, as far as it gains speed. While
/// short calls come, the batches of a long one are no larger than speed needs. With
/// several replicas the batches become smaller towards the end of the work, in proportion to how
/// fast each replica has been, so that all end together.
///
/// A batch for which a device has no memory is cut in two, down to one sequence, and the replica
/// takes smaller batches from then on; after a while it tries larger ones again. A replica whose
/// device fails is retired, and what it had begun runs elsewhere. A call fails when no replica is
/// left that could do its work, or when an error is not the device's; if that happens to a batch of
/// several calls, each is run again by itself, so that only the one at fault fails. A call that is
/// stopped, or whose deadline is over, gives up its place in the queue at once.
///
/// Thread rule: any thread. Every wait ends: a replica's work does, by the timeout of its stream.
class Scheduler {
 public:
  /// So many batches may go to others before a call that waits gets part of one.
  static constexpr int kPatience = 4;
  /// Tokens of a call that would mind to wait for a full batch of another's.
  static constexpr size_t kShortCall = 512;

  /// `on_batch` may be empty.
  Scheduler(LogSink log, std::function<void(const BatchReport&)> on_batch);
  /// Waits for the batches that run. No call of run may be left.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// `layout` is that of options.outputs.
  /// Errors: those of Replica::run; unavailable (no replica is left: says what became of each);
  /// cancelled (options.call ended it).
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
  ModelLoad load() const;

 private:
  struct Job;
  struct Piece;
  struct Part;
  struct Slice;
  struct Worker;

  void work(Worker& worker);
  /// Waits for the end of a job of this thread, and tells it how far it is.
  void await(Job& job, const RunOptions& options, std::unique_lock<std::mutex>& lock);

  bool take(Worker& worker, Slice& slice);
  /// The jobs of which this worker may take something, the one whose turn it is first.
  std::vector<std::shared_ptr<Job>> waiting_for(const Worker& worker) const;
  static bool cut(const Worker& worker, Job& job, size_t budget, Piece& piece);
  static size_t next_tokens(const Worker& worker, const Job& job);
  size_t budget(const Worker& worker, const Job& job) const;

  void run_slice(Worker& worker, Slice slice, std::unique_lock<std::mutex>& lock);
  void done(Worker& worker, const Slice& slice, double ms);
  void failed(Slice slice, std::exception_ptr error);
  void out_of_memory(Worker& worker, Slice slice, const std::string& message);
  void retire(Worker& worker, Slice slice, const std::string& message);
  static void run_batch(Replica& replica, const Slice& slice);
  void give_back(Slice slice);
  static std::exception_ptr cancelled(std::string_view why, const Job& job);
  /// Ends the calls that no replica can serve any more.
  void fail_stranded();
  std::exception_ptr stranded(const Job& job) const;
  void fail_job(Job& job, std::exception_ptr error);
  size_t in_service() const;
  std::string epitaphs() const;

  LogSink log_;
  std::function<void(const BatchReport&)> on_batch_;
  mutable std::mutex mutex_;
  std::condition_variable work_;     ///< there is work, or a worker should leave
  std::condition_variable changed_;  ///< of a worker: it has left, or trimmed
  std::list<std::shared_ptr<Job>> jobs_;
  std::chrono::steady_clock::time_point last_short_{};  ///< when a call of so few tokens came
  std::list<std::unique_ptr<Worker>> workers_;
  std::vector<Placement> retired_;
  bool moving_ = false;
  uint64_t next_id_ = 1;
};

}  // namespace tamis
