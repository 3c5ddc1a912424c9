// What the doctor makes of measured times. Thresholds are rules of thumb, not tuned.

#include <algorithm>

#include "base/fail.h"
#include "engine/doctor.h"

namespace tamis::doctor {
namespace {

constexpr double kMuchTokenizing = 0.2;  // of a call's time
constexpr double kFixedShare = 0.7;      // of a small batch's time that a tiny one takes as well
constexpr double kFixedInFull = 0.1;     // of a full batch's time
constexpr double kLeastFixedMs = 0.5;    // below which nobody cares, and clocks and threads jitter
constexpr double kFastEnough = 0.9;      // of the best rate
constexpr double kTooSlow = 0.8;
constexpr double kEnoughCores = 0.7;  // of the threads
constexpr double kLongEnoughMs = 50;  // for a share of core time to mean something

const TimedBatch* fastest(const std::vector<TimedBatch>& batches) {
  const auto best = std::max_element(
      batches.begin(), batches.end(),
      [](const auto& a, const auto& b) { return a.tokens_per_s() < b.tokens_per_s(); });
  return best == batches.end() ? nullptr : &*best;
}

void judge_batch(const Speed& speed, const std::string& command, Findings& out) {
  const TimedBatch* best = fastest(speed.batches);
  if (best == nullptr) return;
  const TimedBatch* used = nullptr;  // the largest that the asked size allows
  const TimedBatch* enough = best;   // the smallest that is as good as the best
  for (const TimedBatch& batch : speed.batches) {
    if (used == nullptr || batch.all_tokens() <= speed.batch_tokens) used = &batch;
  }
  for (const TimedBatch& batch : speed.batches) {
    if (batch.tokens_per_s() < kFastEnough * best->tokens_per_s()) continue;
    enough = &batch;
    break;
  }
  if (used->tokens_per_s() < kTooSlow * best->tokens_per_s() &&
      enough->all_tokens() > speed.batch_tokens) {
    out.push_back({"speed.batch_small", Severity::kWarning,
                   fmt::format("Batches are too small for {}", speed.device),
                   fmt::format("batches of {} tokens: {:.0f} tokens/s; of {}: {:.0f} tokens/s",
                               used->all_tokens(), used->tokens_per_s(), enough->all_tokens(),
                               enough->tokens_per_s()),
                   fmt::format("{} --batch-tokens {}", command, enough->all_tokens())});
    return;
  }
  out.push_back({"speed.batch", Severity::kOk, fmt::format("Batches suit {}", speed.device),
                 fmt::format("batches of {} tokens: {:.0f} tokens/s", used->all_tokens(),
                             used->tokens_per_s()),
                 ""});
}

// One request of a short text, beside a full batch: what is lost if texts come one by one.
void judge_short(const Speed& speed, const std::string& command, Findings& out) {
  const TimedBatch* best = fastest(speed.batches);
  if (best == nullptr || speed.small.ms <= 0) return;
  const double ratio = best->tokens_per_s() / speed.small.tokens_per_s();
  const std::string what = fmt::format(
      "one text of {} tokens by itself: {:.1f} ms, {:.0f} tokens/s; in full batches {:.0f} "
      "tokens/s",
      speed.small.tokens, speed.small.ms, speed.small.tokens_per_s(), best->tokens_per_s());
  if (ratio < 2) {
    out.push_back({"speed.single", Severity::kOk, "Short texts run well by themselves", what, ""});
    return;
  }
  out.push_back({"speed.single", Severity::kInfo,
                 fmt::format("Texts one by one would run {:.1f} times slower", ratio), what,
                 fmt::format("give many at once: {} --input FILE", command)});
}

void judge_launch(const Speed& speed, Findings& out) {
  if (speed.tiny.ms <= 0 || speed.small.ms <= 0 || speed.batches.empty()) return;
  if (speed.tiny.ms < kLeastFixedMs || speed.tiny.ms < kFixedShare * speed.small.ms) return;
  const TimedBatch& full = speed.batches.back();
  const double share = speed.tiny.ms / full.ms;
  const std::string what = fmt::format(
      "{} tokens take {:.1f} ms, {} take {:.1f} ms: the time does not shrink with the work; it is "
      "{:.0f} % of that of a full batch",
      speed.tiny.all_tokens(), speed.tiny.ms, speed.small.all_tokens(), speed.small.ms,
      100 * std::min(share, 1.0));
  const bool much = share > kFixedInFull;
  out.push_back(
      {"speed.launch_bound", much ? Severity::kWarning : Severity::kInfo,
       fmt::format("Starting the work costs more than the work on {}", speed.device), what,
       fmt::format(
           "give many texts at once (--input FILE){}; a small model may be faster on "
           "--device cpu",
           much ? fmt::format(" and larger batches (--batch-tokens {})", 2 * full.all_tokens())
                : "")});
}

void judge_tokenizing(const Speed& speed, Findings& out) {
  const double all = speed.tokenize_ms + speed.inference_ms;
  if (all <= 0) return;
  const double share = speed.tokenize_ms / all;
  const std::string what =
      fmt::format("{:.1f} % of the time: {:.1f} ms beside {:.1f} ms of the model", 100 * share,
                  speed.tokenize_ms, speed.inference_ms);
  if (share > kMuchTokenizing) {
    out.push_back({"speed.tokenizing", Severity::kWarning, "The device waits for the tokenizer",
                   what,
                   "call from several threads, each tokenises by itself; or split the input: split "
                   "-n l/2 requests.jsonl, and a tamis for each part"});
  } else {
    out.push_back({"speed.tokenizing", Severity::kOk, "Tokenising", what, ""});
  }
}

void judge_cores(const Speed& speed, Findings& out) {
  const bool measured = speed.threads > 0 && speed.busy_cores > 0 && !speed.batches.empty() &&
                        speed.batches.back().ms >= kLongEnoughMs;
  if (!measured) return;
  const std::string what = fmt::format("{} threads had {:.1f} cores' time while they computed",
                                       speed.threads, speed.busy_cores);
  if (speed.busy_cores < kEnoughCores * speed.threads) {
    out.push_back({"cpu.starved", Severity::kWarning, "The threads do not get their cores", what,
                   "see what else runs (top -o %CPU) and whether a quota holds it back; or fewer "
                   "threads: --threads " +
                       std::to_string(std::max(1, static_cast<int>(speed.busy_cores)))});
  } else {
    out.push_back({"cpu.starved", Severity::kOk, "The threads get their cores", what, ""});
  }
}

}  // namespace

double TimedBatch::tokens_per_s() const {
  return ms > 0 ? static_cast<double>(all_tokens()) / ms * 1000 : 0;
}

void judge_speed(const Speed& speed, const std::string& command, Findings& findings) {
  judge_batch(speed, command, findings);
  judge_short(speed, command, findings);
  judge_launch(speed, findings);
  judge_tokenizing(speed, findings);
  judge_cores(speed, findings);
  if (speed.out_of_time) {
    findings.push_back({"speed.not_measured", Severity::kInfo,
                        fmt::format("Not all of {} was measured: the time was up", speed.device),
                        fmt::format("{} sizes of batches were", speed.batches.size()),
                        "tamis doctor --seconds 60, with the same options"});
  }
}

}  // namespace tamis::doctor
