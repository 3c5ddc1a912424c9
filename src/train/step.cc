// A step: a batch through the model and back, in parts and on several devices, and the update.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "base/fail.h"
#include "numeric/philox.h"
#include "train/trainer.h"

namespace tamis::training {
namespace {

constexpr uint32_t kSteps = 0x73746570;  // kind of key
constexpr std::chrono::minutes kPatience{5};
constexpr int64_t kWordRows = 4096;  // of the word table that are added up at a time

void append_range(std::vector<float>& to, const std::vector<float>& from, size_t begin,
                  size_t end) {
  to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(begin),
            from.begin() + static_cast<std::ptrdiff_t>(end));
}

}  // namespace

TrainBatch Trainer::batch_of(const Sequences& s, size_t begin, size_t end) const {
  TrainBatch out;
  out.packed = s.pack(begin, end, parts_.spec.positions);
  for (size_t i = begin; i < end; ++i) {
    out.numbers.push_back(first_number_ + s.numbers[i]);
  }
  out.seed = step_seed_;
  out.dropout = options_.dropout;
  return out;
}

void Trainer::in_parts(const Sequences& s, size_t units, size_t sequences_of_unit,
                       const std::function<void(size_t, size_t)>& f) {
  for (size_t begin = 0; begin < units;) {
    size_t end = begin + 1;
    const auto tokens = [&](size_t to) {
      return s.tokens(begin * sequences_of_unit, to * sequences_of_unit);
    };
    while (end < units && tokens(end + 1) <= budget_) ++end;
    try {
      f(begin * sequences_of_unit, end * sequences_of_unit);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kResourceExhausted || end == begin + 1) throw;
      budget_ = tokens(end) / 2;
      log_to(options_.log, LogLevel::kWarning,
             "no memory for {} tokens at a time: going on with {}; the step is the same but for "
             "rounding",
             tokens(end), budget_);
      continue;
    }
    begin = end;
  }
}

void Trainer::backward(NetworkOutput& d) {
  const auto scale = static_cast<float>(state_.loss_scale);
  for (std::vector<float>* values : {&d.vectors, &d.token_weights, &d.token_vectors}) {
    for (float& x : *values) x *= scale;
  }
  network_.backward(d);
}

double Trainer::run_groups(const Sequences& s, double weight) {
  double loss = 0;
  in_parts(s, s.groups, s.group_size, [&](size_t begin, size_t end) {
    const NetworkOutput out = network_.forward(batch_of(s, begin, end), true);
    NetworkOutput d;
    d.vectors.resize(out.vectors.size());
    GroupScores scores{out.vectors, {}, static_cast<int64_t>(s.group_size)};
    if (!s.teacher.empty()) {
      scores.teacher = std::span(s.teacher).subspan(begin, end - begin);
    }
    loss += group_loss(scores, weight, d.vectors);
    backward(d);
  });
  return loss;
}

double Trainer::contrast(const Sequences& s, const NetworkOutput& out, double weight,
                         NetworkOutput& d) const {
  const auto width = static_cast<size_t>(network_.outputs());
  const size_t queries = s.groups * width;
  double loss = 0;
  if (out.token_weights.empty()) {
    d.vectors.resize(out.vectors.size());
    const std::span<const float> all(out.vectors);
    loss = contrastive_loss({all.first(queries), all.subspan(queries), s.teacher,
                             static_cast<int64_t>(width), static_cast<int64_t>(s.group_size)},
                            contrast_, std::span(d.vectors).first(queries),
                            std::span(d.vectors).subspan(queries));
  } else {
    const PackedBatch packed = s.pack(0, s.encodings.size(), parts_.spec.positions);
    UnifiedBatch batch{out.vectors,       out.token_weights, out.token_vectors, packed.ids,
                       packed.cu_seqlens, special_ids_,      s.teacher};
    batch.queries = static_cast<int64_t>(s.groups);
    batch.group = static_cast<int64_t>(s.group_size);
    batch.dimension = static_cast<int64_t>(width);
    batch.token_dimension = parts_.spec.colbert_dimension;
    const bool self_distill =
        options_.use_self_distill && state_.step > options_.self_distill_start_step;
    UnifiedGradients gradients;
    loss = unified_loss(batch, contrast_, self_distill, gradients);
    d = {std::move(gradients.vectors), std::move(gradients.token_weights),
         std::move(gradients.token_vectors)};
  }
  for (std::vector<float>* values : {&d.vectors, &d.token_weights, &d.token_vectors}) {
    for (float& x : *values) x = static_cast<float>(x * weight);
  }
  return loss * weight;
}

double Trainer::contrast_of_all(const Sequences& s, const Sequences& all, const NetworkOutput& out,
                                double weight, NetworkOutput& d) const {
  Collective& others = *parts_.collective;
  if (options_.negatives_cross_device && others.size() > 1) {
    NetworkOutput d_all;
    const double loss = contrast(all, gather_outputs(out, all), weight, d_all);
    d = own_part(d_all, all);
    return others.rank() == 0 ? loss : 0;  // each has the whole
  }
  if (s.groups == 0) return 0;
  return contrast(s, out, weight * static_cast<double>(s.groups) / static_cast<double>(all.groups),
                  d);
}

double Trainer::run_contrast(const Sequences& s, const Sequences& all, double weight) {
  const size_t n = s.encodings.size();
  // All at once; or first all outputs, then again part by part, now that each knows its gradient.
  NetworkOutput outputs, d;
  double loss = 0;
  bool done = false;
  in_parts(s, n, 1, [&](size_t begin, size_t end) {
    done = end - begin == n;
    const NetworkOutput part = network_.forward(batch_of(s, begin, end), done);
    const auto append = [](std::vector<float>& to, const std::vector<float>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(outputs.vectors, part.vectors);
    append(outputs.token_weights, part.token_weights);
    append(outputs.token_vectors, part.token_vectors);
    if (!done) return;
    loss = contrast_of_all(s, all, outputs, weight, d);
    backward(d);
  });
  if (done) return loss;
  loss = contrast_of_all(s, all, outputs, weight, d);
  const FloatCounts floats = float_counts(s);
  in_parts(s, n, 1, [&](size_t begin, size_t end) {
    network_.forward(batch_of(s, begin, end), true);
    NetworkOutput part;
    for (const auto& [values, floats_of] : floats) {
      append_range(part.*values, d.*values, floats_of(0, begin), floats_of(0, end));
    }
    backward(part);
  });
  return loss;
}

// ---- several devices

std::pair<size_t, size_t> Trainer::share_of(size_t groups, int rank) const {
  const auto size = static_cast<size_t>(parts_.collective->size());
  const auto r = static_cast<size_t>(rank);
  return {groups * r / size, groups * (r + 1) / size};
}

Trainer::FloatCounts Trainer::float_counts(const Sequences& s) const {
  const auto width = static_cast<size_t>(network_.outputs());
  const auto token_width = static_cast<size_t>(parts_.spec.colbert_dimension);
  FloatCounts out = {{&NetworkOutput::vectors,
                      [width](size_t begin, size_t end) { return (end - begin) * width; }}};
  if (trains_token_heads(options_)) {
    out.push_back({&NetworkOutput::token_weights,
                   [&s](size_t begin, size_t end) { return s.tokens(begin, end); }});
    out.push_back({&NetworkOutput::token_vectors, [&s, token_width](size_t begin, size_t end) {
                     return s.tokens(begin, end) * token_width;
                   }});
  }
  return out;
}

NetworkOutput Trainer::gather_outputs(const NetworkOutput& mine, const Sequences& all) const {
  NetworkOutput out;
  for (const auto& [values, floats_of] : float_counts(all)) {
    const auto parts = gather_values<float>(*parts_.collective, mine.*values);
    // Of each rank its queries, then its passages; wanted are all queries, then all passages.
    for (const bool passages : {false, true}) {
      for (size_t r = 0; r < parts.size(); ++r) {
        const auto [begin, end] = share_of(all.groups, static_cast<int>(r));
        const size_t queries = floats_of(begin, end);
        append_range(out.*values, parts[r], passages ? queries : 0,
                     passages ? parts[r].size() : queries);
      }
    }
  }
  return out;
}

NetworkOutput Trainer::own_part(const NetworkOutput& outputs, const Sequences& all) const {
  const auto [begin, end] = share_of(all.groups, parts_.collective->rank());
  const size_t first = all.groups + begin * all.group_size,
               last = all.groups + end * all.group_size;
  NetworkOutput out;
  for (const auto& [values, floats_of] : float_counts(all)) {
    append_range(out.*values, outputs.*values, floats_of(0, begin), floats_of(0, end));
    append_range(out.*values, outputs.*values, floats_of(0, first), floats_of(0, last));
  }
  return out;
}

void Trainer::join_devices() {
  Collective& others = *parts_.collective;
  if (others.size() == 1) return;
  // Each says whether it can, and which device it is: two ranks of one card cannot.
  std::string why_not;
  const bool can = stream_->can_join_ranks(why_not);
  const std::string mine =
      can ? fmt::format("{} of {}", parts_.device->info().name, host_name()) : "";
  const auto all = gather_values<char>(others, mine);
  const bool all_can = std::none_of(all.begin(), all.end(), [](auto& a) { return a.empty(); });
  if (can && std::set(all.begin(), all.end()).size() < all.size()) {
    why_not = "NCCL wants a card of its own for each rank";
  }
  if (!why_not.empty() || !all_can) {
    if (!why_not.empty()) {
      log_to(options_.log, LogLevel::kWarning,
             "gradients are added up in the host's memory, which is slower: {}", why_not);
    }
    return;
  }
  const std::string token = others.rank() == 0 ? stream_->make_rank_token() : "";
  const auto tokens = gather_values<char>(others, token);
  rank_sum_ =
      stream_->join_ranks({tokens[0].begin(), tokens[0].end()}, others.rank(), others.size());
  if (!parameters_.at(Slot::kWords).trains()) return;
  // Before the plan looks at what is free.
  word_rows_ = parts_.device->allocate(
      static_cast<size_t>(kWordRows * parts_.spec.config.hidden_size) * sizeof(float), account_,
      Purpose::kWorkspace);
}

void Trainer::touch_rows_of_all() {
  // A row that another device's texts have is one of this step here as well; its gradient is 0.
  const auto all = gather_values<int32_t>(*parts_.collective, parameters_.step_rows());
  for (const auto& rows : all) parameters_.touch(rows);
}

void Trainer::sum_on_devices() {
  const std::span<float> dense = parameters_.gradients();
  rank_sum_->sum(dense.data(), static_cast<int64_t>(dense.size()));
  const Parameter& words = parameters_.at(Slot::kWords);
  if (!words.trains()) return;
  touch_rows_of_all();
  const Rows rows = parameters_.rows_of(words, false);
  const ConstMat table(words.gradient, words.shape[0], words.shape[1]);
  for (int64_t at = 0; at < rows.count; at += kWordRows) {
    const int64_t count = std::min(kWordRows, rows.count - at);
    const Mat packed(reinterpret_cast<float*>(word_rows_.data()), count, rows.width);
    stream_->ops().gather_rows(table, rows.ids + at, packed);
    rank_sum_->sum(packed.data, count * rows.width);
    network_.ops().zero(words.gradient, {rows.ids + at, count, rows.width});
    BatchView ids;
    ids.ids = rows.ids + at;
    ids.tokens = count;
    network_.ops().embed_backward(packed, ids, words.gradient, nullptr, nullptr);
  }
}

void Trainer::sum_through_host() {
  Collective& others = *parts_.collective;
  constexpr size_t kPiece = size_t{1} << 20;
  std::vector<float> piece;
  const auto sum_rows = [&](std::span<float* const> rows, size_t width) {
    piece.resize(rows.size() * width);
    const auto copy = [&](bool down) {
      for (size_t i = 0; i < rows.size(); ++i) {
        float* host = piece.data() + i * width;
        down ? stream_->download(host, rows[i], width * sizeof(float))
             : stream_->upload(rows[i], host, width * sizeof(float));
      }
      stream_->synchronize(kPatience);
    };
    copy(true);
    others.sum(piece);
    copy(false);
  };
  const std::span<float> dense = parameters_.gradients();
  for (size_t at = 0; at < dense.size(); at += kPiece) {
    float* const begin = dense.data() + at;
    sum_rows({&begin, 1}, std::min(kPiece, dense.size() - at));
  }
  const Parameter& words = parameters_.at(Slot::kWords);
  if (!words.trains()) return;
  touch_rows_of_all();
  const auto width = static_cast<size_t>(words.shape[1]);
  std::vector<float*> rows;
  for (const int32_t row : parameters_.step_rows()) {
    rows.push_back(words.gradient + static_cast<size_t>(row) * width);
    if (rows.size() * width < kPiece) continue;
    sum_rows(rows, width);
    rows.clear();
  }
  if (!rows.empty()) sum_rows(rows, width);
}

void Trainer::sum_gradients() {
  if (parts_.collective->size() == 1) return;
  rank_sum_ ? sum_on_devices() : sum_through_host();
}

// ---- all of it

double Trainer::run_micro_batch(const Sequences& all, double weight) {
  const auto [begin, end] = share_of(all.groups, parts_.collective->rank());
  const Sequences s = all.share(begin, end);
  if (options_.task != TrainTask::kReranker) return run_contrast(s, all, weight);
  return run_groups(s, weight / static_cast<double>(all.groups));
}

double Trainer::run_batches(int64_t step, size_t& tokens) {
  const int64_t epoch = step / epochs_.steps;
  const size_t accumulated = options_.gradient_accumulation_steps;
  const size_t first = static_cast<size_t>(step % epochs_.steps) * accumulated;
  const size_t end = std::min(epochs_.micro_batches, first + accumulated);
  parameters_.zero_gradients(network_.ops());
  step_seed_ = derived_key(options_.seed, static_cast<uint64_t>(step), kSteps);
  first_number_ = 0;
  tokens = 0;
  double loss = 0;
  for (size_t micro_batch = first; micro_batch < end; ++micro_batch) {
    const Batch& batch = batch_at(epoch, micro_batch);
    const Sequences s = sequences_of(batch, epoch);
    contrast_.in_batch_negatives = batch.in_batch_negatives && !options_.no_in_batch_neg;
    loss += run_micro_batch(s, 1.0 / static_cast<double>(end - first));
    tokens += s.tokens(0, s.encodings.size());
    first_number_ += static_cast<int32_t>(s.encodings.size());
  }
  sum_gradients();
  double sum = 0;
  for (const auto& part : gather_values<double>(*parts_.collective, std::span(&loss, 1))) {
    sum += part[0];
  }
  return sum;
}

std::string Trainer::find_not_finite(int64_t step) {
  // The step once more, which gives the same, now with a look at each layer.
  network_.watch(true);
  size_t tokens = 0;
  run_batches(step, tokens);
  std::string where = network_.first_not_finite();
  network_.watch(false);
  for (const auto& of_rank : gather_values<char>(*parts_.collective, where)) {
    if (!of_rank.empty()) return {of_rank.begin(), of_rank.end()};
  }
  return not_finite(parameters_, network_.ops());
}

bool Trainer::overflowed(const TrainStep& step) {
  // As torch.amp.GradScaler: half the scale after an overflow, twice after many steps without one.
  constexpr int64_t kStepsToDouble = 2000;
  constexpr double kMost = 0x1p24;
  if (product_dtype_ != DType::kF16 || !std::isfinite(step.loss)) return false;
  if (std::isfinite(step.gradient_norm)) {
    if (++state_.scaled_steps >= kStepsToDouble) {
      state_.loss_scale = std::min(kMost, 2 * state_.loss_scale);
      state_.scaled_steps = 0;
    }
    return false;
  }
  if (state_.loss_scale < 1) return false;  // it is not the scale
  state_.loss_scale /= 2;
  state_.scaled_steps = 0;
  return true;
}

TrainStep Trainer::run_step(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  TrainStep out;
  out.step = step + 1;
  out.steps = epochs_.total;
  out.epoch = static_cast<double>(step + 1) / static_cast<double>(epochs_.steps);
  out.learning_rate = options_.learning_rate * schedule_.factor(step);
  out.loss = run_batches(step, out.tokens);
  const double scale = state_.loss_scale;
  out.gradient_norm = gradient_norm(parameters_, network_.ops()) / scale;
  if (overflowed(out)) {
    out.skipped = true;
  } else if (!std::isfinite(out.loss) || !std::isfinite(out.gradient_norm)) {
    const std::string where = find_not_finite(step);
    const std::string what =
        fmt::format("step {}: the loss is {} and the gradient's norm {}{}", out.step, out.loss,
                    out.gradient_norm, where.empty() ? "" : ", first in " + where);
    if (!options_.skip_not_finite) {
      fail(ErrorCode::kInvalidArgument,
           "{}; try a lower learning_rate, or leave such steps out with skip_not_finite", what);
    }
    log_to(options_.log, LogLevel::kWarning, "{}; the step is left out", what);
    out.skipped = true;
  } else {
    const double clip = options_.max_grad_norm > 0
                            ? std::min(1.0, options_.max_grad_norm / (out.gradient_norm + 1e-6))
                            : 1.0;
    update(parameters_, network_.ops(), options_, out.learning_rate, clip / scale,
           ++state_.updates);
  }
  state_.step = step + 1;
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace tamis::training
