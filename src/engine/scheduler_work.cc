// What a replica's thread does: cut a batch, run it, and deal with what went wrong.

#include <chrono>
#include <new>
#include <utility>

#include "base/fail.h"
#include "engine/scheduler_state.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// From the three blocks of a batch to those of each of its sequences.
void scatter(const PackedBatch& batch, std::span<const float> out, RunResult& result) {
  const OutputLayout& layout = result.layout;
  const std::span<const float> weights = out.subspan(batch.sequences() * layout.vector);
  const std::span<const float> vectors = weights.subspan(batch.tokens() * layout.token_weight);
  for (size_t i = 0; i < batch.sequences(); ++i) {
    const auto first = static_cast<size_t>(batch.cu_seqlens[i]);
    const size_t tokens = static_cast<size_t>(batch.cu_seqlens[i + 1]) - first;
    float* to = result.values.data() + result.offsets[batch.tickets[i]];
    to = std::copy_n(out.data() + i * layout.vector, layout.vector, to);
    to =
        std::copy_n(weights.data() + first * layout.token_weight, tokens * layout.token_weight, to);
    std::copy_n(vectors.data() + first * layout.token_vector, tokens * layout.token_vector, to);
  }
}

}  // namespace

size_t Scheduler::in_service() const {
  return static_cast<size_t>(std::count_if(
      workers_.begin(), workers_.end(), [](const auto& worker) { return worker->in_service(); }));
}

// With one replica a batch is as large as it may be. With several, a replica takes at most half of
// what would be its share of the rest by its speed so far: the last batches are small, and the
// replicas end together (guided self-scheduling).
size_t Scheduler::budget(const Worker& w, const Job& job) const {
  size_t most = job.batch_tokens > 0 ? job.batch_tokens : w.replica->batch_tokens();
  if (w.budget > 0) most = std::min(most, w.budget);
  if (job.only != nullptr || in_service() < 2) return most;
  double all = 0, known = 0;
  for (const auto& worker : workers_) {
    if (!worker->in_service()) continue;
    all += worker->tokens_per_ms;
    known += worker->tokens_per_ms > 0;
  }
  const auto replicas = static_cast<double>(in_service());
  const double mean = known > 0 ? all / known : 1.0;
  all += (replicas - known) * mean;
  const double own = w.tokens_per_ms > 0 ? w.tokens_per_ms : mean;
  const auto share = static_cast<size_t>(static_cast<double>(job.open_tokens) * own / all / 2);
  return std::min(most, std::max(share, w.replica->device().info().least_tokens));
}

Scheduler::Slice Scheduler::cut(const Job& job, std::span<const size_t> tickets, size_t budget) {
  Slice out;
  const auto leading = tickets.first(leading_batch(job.sequences, tickets, budget));
  out.tickets.assign(leading.begin(), leading.end());
  for (size_t ticket : leading) out.tokens += job.sequences[ticket].ids.size();
  return out;
}

bool Scheduler::cut_returned(Worker& w, Job& job, Slice& slice) {
  const auto it = std::find_if(job.returned.begin(), job.returned.end(),
                               [&](const Slice& s) { return !w.failed(s); });
  if (it == job.returned.end()) return false;
  slice = cut(job, it->tickets, budget(w, job));
  slice.failed_on = it->failed_on;
  it->tickets.erase(it->tickets.begin(),
                    it->tickets.begin() + static_cast<std::ptrdiff_t>(slice.tickets.size()));
  it->tokens -= slice.tokens;
  if (it->tickets.empty()) job.returned.erase(it);
  return true;
}

bool Scheduler::cut_new(Worker& w, Job& job, Slice& slice) {
  if (job.next == job.order.size()) return false;
  slice = cut(job, std::span(job.order).subspan(job.next), budget(w, job));
  job.next += slice.tickets.size();
  return true;
}

bool Scheduler::take(Worker& w, std::shared_ptr<Job>& job, Slice& slice) {
  for (auto it = jobs_.begin(); it != jobs_.end(); ++it) {
    Job& candidate = **it;
    if (candidate.error || (candidate.only != nullptr && candidate.only != w.replica.get())) {
      continue;
    }
    if (!cut_returned(w, candidate, slice) && !cut_new(w, candidate, slice)) continue;
    candidate.open_tokens -= slice.tokens;
    ++candidate.running;
    job = *it;
    jobs_.splice(jobs_.end(), jobs_, it);  // the next batch is another call's, if there is one
    return true;
  }
  return false;
}

void Scheduler::run_slice(Worker& w, const std::shared_ptr<Job>& job, Slice slice,
                          std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  const auto start = Clock::now();
  std::exception_ptr error;
  std::string message;
  enum { kDone, kOutOfMemory, kDeviceFailed, kFailed } outcome = kDone;
  try {
    const PackedBatch batch = pack(job->sequences, slice.tickets, job->rule);
    std::vector<float> out(job->result.layout.numbers(batch.sequences(), batch.tokens()));
    w.replica->run(batch, job->outputs, out);
    scatter(batch, out, job->result);
  } catch (const Error& e) {
    error = std::current_exception();
    message = e.what();
    outcome = e.code() == ErrorCode::kResourceExhausted ? kOutOfMemory
              : e.code() == ErrorCode::kUnavailable     ? kDeviceFailed
                                                        : kFailed;
  } catch (const std::bad_alloc&) {
    message = "no host memory for a batch";
    outcome = kOutOfMemory;
  } catch (...) {
    error = std::current_exception();
    outcome = kFailed;
  }
  const double ms = ms_since(start);
  const std::string device = w.replica->device().info().name;
  lock.lock();
  --job->running;
  if (outcome == kDone) {
    done(w, *job, slice, ms);
  } else if (outcome == kFailed) {
    fail_job(*job, error);
  } else if (outcome == kOutOfMemory) {
    out_of_memory(w, *job, std::move(slice), message);
  } else {
    retire(w, *job, std::move(slice), message);
  }
  job->changed.notify_all();
  if (outcome == kDeviceFailed && log_) {
    lock.unlock();
    log_to(log_, LogLevel::kWarning, "{} failed and is out of service: {}", device, message);
    lock.lock();
  }
}

void Scheduler::done(Worker& w, Job& job, const Slice& slice, double ms) {
  job.unfinished -= slice.tickets.size();
  ++w.batches;
  w.tokens += slice.tokens;
  w.busy_ms += ms;
  const double speed = static_cast<double>(slice.tokens) / std::max(ms, 1e-3);
  w.tokens_per_ms = w.tokens_per_ms > 0 ? 0.7 * w.tokens_per_ms + 0.3 * speed : speed;
  if (w.budget == 0 || slice.tokens * 10 < w.budget * 9) return;
  if (++w.full_batches < w.raise_after) return;
  w.full_batches = 0;
  w.raised = true;
  w.budget += std::max<size_t>(1, w.budget / 4);
  if (w.budget >= w.replica->batch_tokens()) w.budget = 0;
}

void Scheduler::out_of_memory(Worker& w, Job& job, Slice slice, const std::string& message) {
  ++w.out_of_memory;
  if (slice.tickets.size() == 1) {
    slice.failed_on.push_back(w.id);
    const bool elsewhere = job.only == nullptr &&
                           std::any_of(workers_.begin(), workers_.end(), [&](const auto& worker) {
                             return worker->in_service() && !worker->failed(slice);
                           });
    if (elsewhere || moving_) {
      give_back(job, std::move(slice));
      return;
    }
    fail_job(job, std::make_exception_ptr(Error(
                      ErrorCode::kResourceExhausted,
                      fmt::format("no memory for one sequence of {} tokens in a batch of its own: "
                                  "{}; take a smaller max_length, a 16-bit dtype or another device",
                                  slice.tokens, message))));
    return;
  }
  if (w.raised) w.raise_after = std::min<size_t>(2 * w.raise_after, 1024);
  w.raised = false;
  w.full_batches = 0;
  w.budget = std::max<size_t>(1, slice.tokens / 2);
  give_back(job, std::move(slice));  // comes out again in pieces of at most the new budget
}

void Scheduler::give_back(Job& job, Slice slice) {
  job.open_tokens += slice.tokens;
  job.returned.push_front(std::move(slice));
  work_.notify_all();
}

void Scheduler::retire(Worker& w, Job& job, Slice slice, const std::string& message) {
  w.retired = true;
  Placement p = w.replica->placement();
  p.retired = true;
  p.on_device = false;
  p.error = message;
  p.batches = w.batches;
  p.tokens = w.tokens;
  p.busy_ms = w.busy_ms;
  p.out_of_memory = w.out_of_memory;
  retired_.push_back(std::move(p));
  give_back(job, std::move(slice));
  fail_stranded();
}

void Scheduler::fail_job(Job& job, std::exception_ptr error) {
  if (!job.error) job.error = std::move(error);
  job.changed.notify_all();
}

std::string Scheduler::epitaphs() const {
  std::string out;
  for (const Placement& p : retired_) out += fmt::format("\n  {}: {}", p.device, p.error);
  return out;
}

/// Why no replica in service can do what is left of the job; null if one can.
std::exception_ptr Scheduler::stranded(const Job& job) const {
  std::vector<const Worker*> able;
  for (const auto& w : workers_) {
    if (w->in_service() && (job.only == nullptr || w->replica.get() == job.only)) {
      able.push_back(w.get());
    }
  }
  if (able.empty()) {
    return std::make_exception_ptr(
        Error(ErrorCode::kUnavailable,
              fmt::format("no device is left to run on; move the model, for instance to \"cpu\"{}",
                          epitaphs())));
  }
  for (const Slice& slice : job.returned) {
    if (std::all_of(able.begin(), able.end(), [&](const Worker* w) { return w->failed(slice); })) {
      return std::make_exception_ptr(
          Error(ErrorCode::kResourceExhausted,
                fmt::format("no memory on any device that is left for one sequence of {} tokens{}",
                            slice.tokens, epitaphs())));
    }
  }
  return nullptr;
}

void Scheduler::fail_stranded() {
  if (moving_) return;
  for (const auto& job : jobs_) {
    if (job->error || (job->next == job->order.size() && job->returned.empty())) continue;
    if (auto why = stranded(*job)) fail_job(*job, std::move(why));
  }
}

}  // namespace tamis
