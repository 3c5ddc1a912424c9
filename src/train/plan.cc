// What memory a run will take, and what is chosen so that it is enough.

#include <algorithm>
#include <cmath>
#include <set>

#include "base/byte_size.h"
#include "base/fail.h"
#include "train/trainer.h"

namespace tamis::training {
namespace {

constexpr size_t kSampledBatches = 128;
constexpr size_t kAnyTokens = size_t{1} << 30;

/// Bytes of pages that `rows` rows, anywhere in a table, lie on.
double bytes_of_rows(double rows, double table_bytes, double row_bytes) {
  constexpr double kPage = 4096;
  const double pages = table_bytes / kPage, span = 1 + row_bytes / kPage;
  return kPage * pages * (1 - std::exp(-rows * span / pages));
}

}  // namespace

Trainer::Sample Trainer::sample() const {
  Sample out;
  std::set<int32_t> words;
  size_t half = 0;
  const auto run = static_cast<size_t>(epochs_.total) * options_.gradient_accumulation_steps;
  const size_t seen = std::min(run, epochs_.micro_batches);
  out.batches = std::min(kSampledBatches, seen);
  for (size_t i = 0; i < out.batches; ++i) {
    const Sequences all = sequences_of(batch_at(0, i), 0);
    const auto [begin, end] = share_of(all.groups, parts_.collective->rank());
    const Sequences s = all.share(begin, end);
    // Words are those of all devices: each gets the gradients of all.
    for (const text::Encoding& e : all.encodings) words.insert(e.ids.begin(), e.ids.end());
    const size_t n = s.encodings.size();
    out.tokens = std::max(out.tokens, s.tokens(0, n));
    out.sequences = std::max(out.sequences, n);
    out.longest = std::max(out.longest, s.longest());
    if (i + 1 == (out.batches + 1) / 2) half = words.size();
  }
  // The number of distinct words grows as a power of the length of a text (Heaps).
  out.words = static_cast<double>(words.size());
  if (out.batches >= 2 && half > 0 && seen > out.batches) {
    const double power = std::log2(out.words / static_cast<double>(half));
    out.words *= std::pow(static_cast<double>(seen) / static_cast<double>(out.batches), power);
  }
  out.words = std::min(out.words, static_cast<double>(parts_.spec.config.vocab_size));
  return out;
}

size_t Trainer::state_bytes(const Sample& sample) const {
  // Pages that nobody writes to take no memory, but only the host has such.
  const bool by_pages = parts_.device->info().host_memory && options_.weight_decay == 0;
  double bytes = 0;
  for (const Parameter& p : parameters_.all()) {
    if (!p.trains()) continue;
    const double all = 4.0 * static_cast<double>(p.size);
    bytes += p.slot == Slot::kWords && by_pages
                 ? 3 * bytes_of_rows(sample.words, all, 4.0 * static_cast<double>(p.shape[1]))
                 : 3 * all;
  }
  return static_cast<size_t>(bytes);
}

size_t Trainer::memory_limit(size_t used) const {
  if (options_.memory_limit_bytes) return *options_.memory_limit_bytes;
  // Nobody else's pages make room on a card.
  if (!parts_.device->info().host_memory) return used + parts_.device->memory().free_bytes;
  return static_cast<size_t>(-1);
}

TrainPlan Trainer::make_plan() {
  const Sample seen = sample();
  TrainPlan plan;
  plan.steps = epochs_.total;
  plan.examples = data_.size();
  plan.parameters = parameters_.count();
  plan.trained_parameters = parameters_.trained();
  // On the host what the process has now: the weights, and the tokenizer. A device of its own
  // memory already has all but the activations, and its plan is one device's.
  const bool on_host = parts_.device->info().host_memory;
  const size_t copies = on_host ? parts_.devices_here : 1;
  plan.weight_bytes = copies * 4 * static_cast<size_t>(plan.parameters);
  state_bytes_ = state_bytes(seen);
  plan.state_bytes = copies * state_bytes_;
  const size_t now = on_host ? parts_.host->memory().process_anonymous_bytes
                             : account_->use().used() - plan.state_bytes;
  const size_t limit = memory_limit(now + plan.state_bytes);
  const auto try_it = [&](const CheckpointPolicy& policy, size_t tokens) {
    network_.set_policy(policy);
    budget_ = std::max(tokens, seen.longest);
    const size_t planned = std::min(budget_, seen.tokens);
    const size_t sequences = std::min(seen.sequences, planned);
    plan.activation_bytes =
        copies * network_.bytes_for(static_cast<int64_t>(planned), static_cast<int64_t>(sequences),
                                    static_cast<int64_t>(seen.longest));
    plan.gradient_checkpointing = to_string(policy);
    plan.sub_batch_tokens = planned;
    plan.peak_bytes = now + plan.state_bytes + plan.activation_bytes;
    return plan.peak_bytes <= limit;
  };
  const CheckpointPolicy asked = parse_policy(options_.gradient_checkpointing);
  const size_t tokens = options_.sub_batch_tokens > 0 ? options_.sub_batch_tokens : kAnyTokens;
  if (try_it(asked, tokens)) return plan;
  // Cheapest first: attention is computed again in no time; then each layer; then smaller parts.
  if (asked.recompute == Recompute::kNothing) {
    for (const CheckpointPolicy policy : {CheckpointPolicy{Recompute::kAttention, 1},
                                          {Recompute::kLayers, 2},
                                          {Recompute::kLayers, 1}}) {
      if (try_it(policy, tokens)) return plan;
    }
  }
  const CheckpointPolicy last =
      asked.recompute == Recompute::kNothing ? CheckpointPolicy{Recompute::kLayers, 1} : asked;
  for (size_t part = seen.tokens / 2; part > seen.longest; part /= 2) {
    if (try_it(last, part)) return plan;
  }
  if (try_it(last, seen.longest)) return plan;
  fail(ErrorCode::kResourceExhausted,
       "{} {}: the least that this run takes is {}: {} now with the weights, {} of "
       "gradients and moments, {} of activations for {} tokens; freeze layers, shorten the texts, "
       "or give more",
       options_.memory_limit_bytes ? "memory limit" : parts_.device->info().name + " has",
       format_bytes(limit), format_bytes(plan.peak_bytes), format_bytes(now),
       format_bytes(plan.state_bytes), format_bytes(plan.activation_bytes), plan.sub_batch_tokens);
}

}  // namespace tamis::training
