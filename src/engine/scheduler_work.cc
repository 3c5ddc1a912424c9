// What a replica's thread does: cut a batch, run it, and deal with what went wrong.

#include <chrono>
#include <cstdint>
#include <new>
#include <numeric>
#include <utility>

#include "base/fail.h"
#include "engine/scheduler_state.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// So many times a device's least batch are worth waiting for others' sequences: from there on a
/// larger batch is no faster by the token (cpu: 512, but for the last 0-6 %:
/// bench/record/2026-11-27-serving.jsonl).
constexpr size_t kWellFilled = 4;

/// For so long after a short call the next one is expected.
constexpr std::chrono::seconds kShortCallsCome{1};

/// The numbers of sequence `i` of the batch, which is number `ticket` of its call.
void scatter(const PackedBatch& batch, std::span<const float> out, size_t i, size_t ticket,
             RunResult& result) {
  const OutputLayout& layout = result.layout;
  const std::span<const float> weights = out.subspan(batch.sequences() * layout.vector);
  const std::span<const float> vectors = weights.subspan(batch.tokens() * layout.token_weight);
  const auto first = static_cast<size_t>(batch.cu_seqlens[i]);
  const size_t tokens = static_cast<size_t>(batch.cu_seqlens[i + 1]) - first;
  float* to = result.values.data() + result.offsets[ticket];
  to = std::copy_n(out.data() + i * layout.vector, layout.vector, to);
  to = std::copy_n(weights.data() + first * layout.token_weight, tokens * layout.token_weight, to);
  std::copy_n(vectors.data() + first * layout.token_vector, tokens * layout.token_vector, to);
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
  // A batch is not ended in its middle: smaller ones let short calls in sooner. (One pair beside
  // 5,000 passages, cpu, f32: p50 257 -> 113 ms; a long call alone
  // would be 0-6 % slower by it. bench/record/2026-11-27-serving.jsonl.)
  if (job.open_tokens > most && Clock::now() - last_short_ < kShortCallsCome) {
    most = std::min(most, kWellFilled * w.replica->device().info().least_tokens);
  }
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

/// Takes out of the job what makes at most `budget` tokens, or the first sequence alone.
bool Scheduler::cut(const Worker& w, Job& job, size_t budget, Piece& piece) {
  const auto returned = std::find_if(job.returned.begin(), job.returned.end(),
                                     [&](const Piece& p) { return !w.failed(p); });
  const bool again = returned != job.returned.end();
  const auto tickets = again ? std::span<const size_t>(returned->tickets)
                             : std::span<const size_t>(job.order).subspan(job.next);
  if (tickets.empty()) return false;
  const auto leading = tickets.first(leading_batch(job.sequences, tickets, budget));
  piece.tickets.assign(leading.begin(), leading.end());
  for (size_t ticket : leading) piece.tokens += job.sequences[ticket].ids.size();
  job.open_tokens -= piece.tokens;
  if (!again) {
    job.next += leading.size();
    return true;
  }
  piece.failed_on = returned->failed_on;
  piece.alone = returned->alone;
  returned->tickets.erase(returned->tickets.begin(),
                          returned->tickets.begin() + static_cast<std::ptrdiff_t>(leading.size()));
  returned->tokens -= piece.tokens;
  if (returned->tickets.empty()) job.returned.erase(returned);
  return true;
}

std::vector<std::shared_ptr<Scheduler::Job>> Scheduler::waiting_for(const Worker& w) const {
  std::vector<std::shared_ptr<Job>> out;
  for (const auto& job : jobs_) {
    if (job->error || (job->only != nullptr && job->only != w.replica.get())) continue;
    if (job->next < job->order.size() ||
        std::any_of(job->returned.begin(), job->returned.end(),
                    [&](const Piece& p) { return !w.failed(p); })) {
      out.push_back(job);
    }
  }
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    if (a->priority != b->priority) return a->priority > b->priority;
    const bool a_waited = a->passed_over >= kPatience, b_waited = b->passed_over >= kPatience;
    if (a_waited != b_waited) return a_waited;
    return !a_waited && a->open_tokens < b->open_tokens;
  });
  return out;
}

bool Scheduler::take(Worker& w, Slice& slice) {
  const auto waiting = waiting_for(w);
  if (waiting.empty()) return false;
  const std::shared_ptr<Job>& first = waiting.front();
  const size_t most = budget(w, *first);
  const size_t least = w.replica->device().info().least_tokens;
  bool alone = false;
  slice.budget = most;
  for (const auto& job : waiting) {
    // A call that fills batches of its own only fills up what would be too small to be fast, so
    // that a short one beside it does not wait for its passages.
    const size_t enough = std::min(most, job->open_tokens > most ? least : kWellFilled * least);
    const size_t limit = job == first            ? most
                         : job->batch_tokens > 0 ? std::min(enough, job->batch_tokens)
                                                 : enough;
    const size_t room = limit - std::min(limit, slice.tokens);
    // Of another call the next sequence must fit, for cut takes at least one.
    if (job != first && (alone || job->outputs != first->outputs || next_tokens(w, *job) > room)) {
      ++job->passed_over;
      continue;
    }
    Piece piece;
    cut(w, *job, room, piece);
    alone = alone || piece.alone;
    ++job->running;
    job->passed_over = 0;
    if (!std::exchange(job->begun, true)) job->result.queue_ms = ms_since(job->queued);
    for (size_t ticket : piece.tickets) {
      slice.longest = std::max(slice.longest, job->sequences[ticket].ids.size());
    }
    slice.add(job, std::move(piece));
  }
  // Among equals the next turn is another's.
  jobs_.remove(first);
  jobs_.push_back(first);
  return true;
}

/// Of what cut would take first; more than any room where that has to be alone.
size_t Scheduler::next_tokens(const Worker& w, const Job& job) {
  for (const Piece& piece : job.returned) {
    if (w.failed(piece)) continue;
    return piece.alone ? SIZE_MAX : job.sequences[piece.tickets.front()].ids.size();
  }
  return job.sequences[job.order[job.next]].ids.size();
}

void Scheduler::run_slice(Worker& w, Slice slice, std::unique_lock<std::mutex>& lock) {
  w.busy = true;
  lock.unlock();
  const auto start = Clock::now();
  std::exception_ptr error;
  std::string message;
  enum { kDone, kOutOfMemory, kDeviceFailed, kFailed } outcome = kDone;
  try {
    run_batch(*w.replica, slice);
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
  const BatchReport report{device,       slice.parts.size(),     slice.sequences,
                           slice.tokens, slice.longest,          slice.budget,
                           ms,           outcome == kOutOfMemory};
  // Told before the calls that it ends go on, so that who asks afterwards finds it counted.
  if (on_batch_ && (outcome == kDone || outcome == kOutOfMemory)) on_batch_(report);
  lock.lock();
  w.busy = false;
  for (const Part& part : slice.parts) --part.job->running;
  const std::vector<std::shared_ptr<Job>> jobs = slice.jobs();
  if (outcome == kDone) {
    done(w, slice, ms);
  } else if (outcome == kFailed) {
    failed(std::move(slice), error);
  } else if (outcome == kOutOfMemory) {
    out_of_memory(w, std::move(slice), message);
  } else {
    retire(w, std::move(slice), message);
  }
  for (const auto& job : jobs) job->changed.notify_all();
  if (outcome == kDeviceFailed && log_) {
    lock.unlock();
    log_to(log_, LogLevel::kWarning, "{} failed and is out of service: {}", device, message);
    lock.lock();
  }
}

void Scheduler::run_batch(Replica& replica, const Slice& slice) {
  std::vector<SequenceView> views;
  views.reserve(slice.sequences);
  for (const auto& [job, piece] : slice.parts) {
    for (size_t ticket : piece.tickets) views.push_back(job->sequences[ticket]);
  }
  std::vector<size_t> order(views.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const Job& first = *slice.parts.front().job;
  const PackedBatch batch = pack(views, order, first.rule);
  std::vector<float> out(first.result.layout.numbers(batch.sequences(), batch.tokens()));
  replica.run(batch, first.outputs, out);
  size_t i = 0;
  for (const auto& [job, piece] : slice.parts) {
    for (size_t ticket : piece.tickets) scatter(batch, out, i++, ticket, job->result);
  }
}

void Scheduler::done(Worker& w, const Slice& slice, double ms) {
  for (const auto& [job, piece] : slice.parts) job->unfinished -= piece.tickets.size();
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

/// The error does not say whose sequence it was.
void Scheduler::failed(Slice slice, std::exception_ptr error) {
  if (slice.parts.size() == 1) {
    fail_job(*slice.parts.front().job, std::move(error));
    return;
  }
  for (Part& part : slice.parts) part.piece.alone = true;
  give_back(std::move(slice));
}

void Scheduler::out_of_memory(Worker& w, Slice slice, const std::string& message) {
  ++w.out_of_memory;
  if (slice.sequences == 1) {
    auto& [job, piece] = slice.parts.front();
    piece.failed_on.push_back(w.id);
    const bool elsewhere =
        job->only == nullptr &&
        std::any_of(workers_.begin(), workers_.end(), [&, &part = piece](const auto& worker) {
          return worker->in_service() && !worker->failed(part);
        });
    if (elsewhere || moving_) {
      give_back(std::move(slice));
      return;
    }
    fail_job(*job,
             std::make_exception_ptr(Error(
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
  give_back(std::move(slice));  // comes out again in pieces of at most the new budget
}

void Scheduler::give_back(Slice slice) {
  for (Part& part : slice.parts) {
    part.job->open_tokens += part.piece.tokens;
    part.job->returned.push_front(std::move(part.piece));
  }
  work_.notify_all();
}

void Scheduler::retire(Worker& w, Slice slice, const std::string& message) {
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
  give_back(std::move(slice));
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
  for (const Piece& piece : job.returned) {
    if (std::all_of(able.begin(), able.end(), [&](const Worker* w) { return w->failed(piece); })) {
      return std::make_exception_ptr(
          Error(ErrorCode::kResourceExhausted,
                fmt::format("no memory on any device that is left for one sequence of {} tokens{}",
                            piece.tokens, epitaphs())));
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
