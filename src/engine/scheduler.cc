#include "engine/scheduler.h"

#include <system_error>
#include <utility>

#include "base/fail.h"
#include "base/host.h"
#include "engine/scheduler_state.h"

namespace tamis {

Scheduler::Scheduler(LogSink log, std::function<void(const BatchReport&)> on_batch)
    : log_(std::move(log)), on_batch_(std::move(on_batch)) {}

Scheduler::~Scheduler() {
  const auto all = replicas();
  remove(all, false);
  clear_retired();
}

SequenceOutput RunResult::of(size_t i) const {
  const auto all = std::span(values).subspan(offsets[i], offsets[i + 1] - offsets[i]);
  const size_t tokens =
      layout.of_token() > 0 ? (all.size() - layout.vector) / layout.of_token() : 0;
  const size_t weights = tokens * layout.token_weight;
  return {all.first(layout.vector), all.subspan(layout.vector, weights),
          all.subspan(layout.vector + weights)};
}

std::exception_ptr Scheduler::cancelled(std::string_view why, const Job& job) {
  const size_t all = job.order.size();
  return std::make_exception_ptr(
      Error(ErrorCode::kCancelled,
            fmt::format("{}: {} of {} sequences were done", why, all - job.unfinished, all)));
}

RunResult Scheduler::run(std::span<const SequenceView> sequences, const OutputLayout& layout,
                         const PositionRule& rule, const RunOptions& options) {
  if (sequences.empty()) return {layout, {}, {0}};
  auto job = std::make_shared<Job>();
  job->sequences = sequences;
  job->outputs = options.outputs;
  job->rule = rule;
  job->batch_tokens = options.batch_tokens;
  job->only = options.only;
  job->priority = options.call.priority;
  job->queued = std::chrono::steady_clock::now();
  RunResult& result = job->result;
  result.layout = layout;
  result.offsets.push_back(0);
  for (const SequenceView& s : sequences) {
    result.offsets.push_back(result.offsets.back() + layout.numbers(1, s.ids.size()));
  }
  result.values.resize(result.offsets.back());
  job->order = longest_first(sequences);
  for (const SequenceView& s : sequences) job->open_tokens += s.ids.size();
  job->unfinished = sequences.size();

  // Before the lock, since a stop that was asked already is answered within the constructor.
  const std::stop_callback on_stop(options.call.stop, [&] {
    const std::lock_guard lock(mutex_);
    fail_job(*job, cancelled("the call was stopped", *job));
  });
  std::unique_lock lock(mutex_);
  // Else a worker could be done before the wait for a moment that is over ends.
  if (options.call.deadline && std::chrono::steady_clock::now() >= *options.call.deadline) {
    fail_job(*job, cancelled("its deadline is over", *job));
  }
  if (job->open_tokens <= kShortCall) last_short_ = std::chrono::steady_clock::now();
  jobs_.push_back(job);
  fail_stranded();
  work_.notify_all();
  await(*job, options, lock);
  jobs_.remove(job);
  lock.unlock();
  if (job->error) std::rethrow_exception(job->error);
  return std::move(job->result);
}

void Scheduler::await(Job& job, const RunOptions& options, std::unique_lock<std::mutex>& lock) {
  const size_t all = job.order.size();
  size_t told = job.unfinished;
  const auto news = [&] { return options.progress && !job.error && told != job.unfinished; };
  while (news() || !job.over()) {  // the last batches may end during a callback
    if (!news()) {
      if (!options.call.deadline || job.error) {
        job.changed.wait(lock);
      } else if (job.changed.wait_until(lock, *options.call.deadline) == std::cv_status::timeout &&
                 job.unfinished > 0) {
        fail_job(job, cancelled("its deadline is over", job));
      }
      continue;
    }
    told = job.unfinished;
    lock.unlock();
    std::exception_ptr thrown;
    try {
      options.progress(all - told, all);
    } catch (...) {
      thrown = std::current_exception();  // how a caller cancels
    }
    lock.lock();
    if (thrown) fail_job(job, thrown);
  }
}

void Scheduler::add(std::shared_ptr<Replica> replica) {
  auto worker = std::make_unique<Worker>();
  worker->replica = std::move(replica);
  const std::lock_guard lock(mutex_);
  worker->id = next_id_++;
  Worker& w = *workers_.emplace_back(std::move(worker));
  try {
    w.thread = std::thread([this, &w] { work(w); });
  } catch (const std::system_error& e) {
    workers_.pop_back();
    fail(ErrorCode::kResourceExhausted, "cannot start the thread of a replica: {}", e.what());
  }
}

void Scheduler::work(Worker& w) {
  pin_this_thread(w.replica->cores());
  std::unique_lock lock(mutex_);
  while (!w.leaving && !w.retired) {
    Slice slice;
    work_.wait(lock, [&] { return w.leaving || w.trim_asked || take(w, slice); });
    if (!slice.parts.empty()) {
      run_slice(w, std::move(slice), lock);
    } else if (w.trim_asked) {
      w.trimmed_bytes = w.replica->trim();
      w.trim_asked = false;
      changed_.notify_all();
    }
  }
  std::shared_ptr<Replica> replica = std::move(w.replica);
  lock.unlock();
  replica.reset();  // its memory is free before anybody is told
  lock.lock();
  w.gone = true;
  w.trim_asked = false;
  changed_.notify_all();
}

void Scheduler::remove(std::span<const std::shared_ptr<Replica>> replicas, bool moving) {
  std::vector<Worker*> leaving;
  std::unique_lock lock(mutex_);
  moving_ = moving;
  for (const auto& worker : workers_) {
    if (worker->retired || worker->leaving) continue;
    if (std::find(replicas.begin(), replicas.end(), worker->replica) == replicas.end()) continue;
    worker->leaving = true;
    leaving.push_back(worker.get());
  }
  fail_stranded();
  work_.notify_all();
  changed_.wait(lock, [&] {
    return std::all_of(leaving.begin(), leaving.end(), [](const Worker* w) { return w->gone; });
  });
  std::list<std::unique_ptr<Worker>> gone;
  for (auto it = workers_.begin(); it != workers_.end();) {
    const auto here = it++;
    if ((*here)->leaving && (*here)->gone) gone.splice(gone.end(), workers_, here);
  }
  lock.unlock();
  for (const auto& worker : gone) worker->thread.join();
}

void Scheduler::end_move() {
  const std::lock_guard lock(mutex_);
  moving_ = false;
  fail_stranded();
}

std::vector<std::shared_ptr<Replica>> Scheduler::replicas() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Replica>> out;
  for (const auto& worker : workers_) {
    if (worker->in_service()) out.push_back(worker->replica);
  }
  return out;
}

std::vector<Placement> Scheduler::placement() const {
  const std::lock_guard lock(mutex_);
  std::vector<Placement> out;
  std::vector<const ModelWeights*> weights;
  for (const auto& worker : workers_) {
    if (!worker->in_service()) continue;
    Placement p = worker->replica->placement();
    const ModelWeights* own = &worker->replica->weights();
    p.shares_weights = std::find(weights.begin(), weights.end(), own) != weights.end();
    weights.push_back(own);
    if (worker->budget > 0) p.batch_tokens = std::min(p.batch_tokens, worker->budget);
    p.batches = worker->batches;
    p.tokens = worker->tokens;
    p.busy_ms = worker->busy_ms;
    p.out_of_memory = worker->out_of_memory;
    out.push_back(std::move(p));
  }
  out.insert(out.end(), retired_.begin(), retired_.end());
  return out;
}

void Scheduler::clear_retired() {
  std::list<std::unique_ptr<Worker>> gone;
  {
    const std::lock_guard lock(mutex_);
    retired_.clear();
    for (auto it = workers_.begin(); it != workers_.end();) {
      const auto here = it++;
      if ((*here)->retired) gone.splice(gone.end(), workers_, here);
    }
  }
  for (const auto& worker : gone) worker->thread.join();
}

size_t Scheduler::trim() {
  std::unique_lock lock(mutex_);
  for (const auto& worker : workers_) {
    worker->trimmed_bytes = 0;
    worker->trim_asked = worker->in_service();
  }
  work_.notify_all();
  changed_.wait(lock, [&] {
    return std::none_of(workers_.begin(), workers_.end(),
                        [](const auto& worker) { return worker->trim_asked; });
  });
  size_t bytes = 0;
  for (const auto& worker : workers_) bytes += worker->trimmed_bytes;
  return bytes;
}

ModelLoad Scheduler::load() const {
  const std::lock_guard lock(mutex_);
  ModelLoad out;
  for (const auto& job : jobs_) {
    if (job->over()) continue;
    ++out.calls;
    if (job->error) continue;
    out.waiting_tokens += job->open_tokens;
    out.waiting_sequences += job->order.size() - job->next;
    for (const Piece& piece : job->returned) out.waiting_sequences += piece.tickets.size();
  }
  for (const auto& worker : workers_) out.running_batches += worker->busy;
  return out;
}

}  // namespace tamis
