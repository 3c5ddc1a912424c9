#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/ranges.h>

#include "base/fail.h"
#include "numeric/philox.h"
#include "train/run_files.h"

namespace tamis::training {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kSteps = 0x73746570;  // kind of key

StreamOptions stream_options(const TrainOptions& options) {
  StreamOptions out;
  out.threads = options.threads;
  return out;
}

DropoutRates dropout_rates(const io::ModelConfig& c) {
  return {static_cast<float>(c.hidden_dropout_prob),
          static_cast<float>(c.attention_probs_dropout_prob),
          static_cast<float>(c.classifier_dropout)};
}

bool trains_token_heads(const TrainOptions& options) {
  return options.task == TrainTask::kM3 && options.unified_finetuning;
}

Freeze freeze_of(const TrainOptions& options) {
  return {options.freeze_words, options.fix_position_embedding, options.freeze_layers,
          options.fix_encoder, trains_token_heads(options)};
}

NetworkOptions network_options(const TrainOptions& options, const ModelSpec& spec) {
  NetworkOptions out;
  out.policy = parse_policy(options.gradient_checkpointing);
  out.token_heads = trains_token_heads(options);
  if (options.dropout) out.dropout = dropout_rates(spec.config);
  return out;
}

ContrastiveOptions contrastive_options(const TrainOptions& options) {
  ContrastiveOptions out;
  out.temperature = options.temperature;
  out.normalize = options.normalize_embeddings;
  out.dimensions = options.mrl_dims;
  if (options.knowledge_distillation) {
    if (options.kd_loss_type == "kl_div") {
      out.distillation = Distillation::kKlDiv;
    } else if (options.kd_loss_type == "m3_kd_loss") {
      out.distillation = Distillation::kM3;
    } else {
      fail(ErrorCode::kInvalidArgument, "kd_loss_type: expected kl_div or m3_kd_loss, got \"{}\"",
           options.kd_loss_type);
    }
  }
  return out;
}

int64_t warmup_steps(const TrainOptions& options, int64_t steps) {
  if (options.warmup_steps > 0) return options.warmup_steps;
  return static_cast<int64_t>(std::ceil(static_cast<double>(steps) * options.warmup_ratio));
}

void check(const TrainOptions& options, const ModelSpec& spec) {
  const auto positive = [](std::string_view name, double value) {
    if (!(value > 0)) {
      fail(ErrorCode::kInvalidArgument, "{}: expected a number above 0, got {}", name, value);
    }
  };
  positive("per_device_train_batch_size", static_cast<double>(options.per_device_train_batch_size));
  positive("gradient_accumulation_steps", static_cast<double>(options.gradient_accumulation_steps));
  positive("query_max_len", static_cast<double>(options.query_max_len));
  positive("passage_max_len", static_cast<double>(options.passage_max_len));
  positive("learning_rate", options.learning_rate);
  positive("temperature", options.temperature);
  if (options.max_steps <= 0) positive("num_train_epochs", options.num_train_epochs);
  if (options.freeze_layers < 0 || options.freeze_layers > spec.config.num_hidden_layers) {
    fail(ErrorCode::kInvalidArgument, "freeze_layers: the model has {} layers, got {}",
         spec.config.num_hidden_layers, options.freeze_layers);
  }
  for (const int64_t dimension : options.mrl_dims) {
    if (dimension < 1 || dimension > spec.config.hidden_size) {
      fail(ErrorCode::kInvalidArgument, "mrl_dims: expected numbers from 1 to {}, got {}",
           spec.config.hidden_size, dimension);
    }
  }
  if (options.task == TrainTask::kReranker && spec.config.labels.size() > 1) {
    fail(ErrorCode::kInvalidArgument, "{}: has {} labels; a reranker has one",
         spec.directory.string(), spec.config.labels.size());
  }
}

}  // namespace

ModelSpec training_spec(const ModelSpec& source, const TrainOptions& options) {
  ModelSpec spec = source;
  const TrainTask task = options.task;
  const bool cross_encoder = source.kind == ModelKind::kCrossEncoder;
  if (task != TrainTask::kReranker && cross_encoder) {
    fail(ErrorCode::kInvalidArgument, "{}: is a cross-encoder ({}), not an embedder",
         source.directory.string(), source.architecture);
  }
  if (trains_token_heads(options)) {
    spec.sparse_head = true;
    if (spec.colbert_dimension == 0) {
      spec.colbert_dimension =
          options.colbert_dim > 0 ? options.colbert_dim : spec.config.hidden_size;
    }
  }
  if (task != TrainTask::kReranker || cross_encoder) return spec;
  spec.kind = ModelKind::kCrossEncoder;
  spec.pooling = Pooling::kCls;
  spec.normalize = false;
  spec.sparse_head = false;
  spec.colbert_dimension = 0;
  spec.config.labels = {"LABEL_0"};
  spec.architecture = spec.positions.after_padding ? "XLMRobertaForSequenceClassification"
                                                   : "BertForSequenceClassification";
  return spec;
}

Trainer::Trainer(const TrainerParts& parts, const TrainOptions& options)
    : parts_(parts),
      options_((check(options, parts.spec), options)),
      data_(options),
      tokenize_(*parts.tokenizer, options, parts.spec.max_length),
      epochs_(count_steps()),
      schedule_(options.lr_scheduler_type, warmup_steps(options, epochs_.total), epochs_.total),
      contrast_(contrastive_options(options)),
      account_(parts.device->open_account("training", MemoryAccount::no_limit)),
      stream_(parts.device->make_stream(stream_options(options))),
      parameters_(*parts.source, parts.spec, freeze_of(options), options.seed, *parts.device,
                  *stream_, account_),
      network_(parts.spec, parameters_, parts.device, stream_, account_,
               network_options(options, parts.spec)) {
  const text::SpecialTokens& special = parts_.tokenizer->special_tokens();
  special_ids_ = {special.cls, special.eos, special.pad, special.unk};
  if (parameters_.trained() == 0) {
    fail(ErrorCode::kInvalidArgument, "everything is frozen: there is nothing to train");
  }
}

Trainer::Epochs Trainer::count_steps() const {
  Epochs out;
  out.micro_batches = data_.batches(0).size();
  if (out.micro_batches == 0) {
    fail(ErrorCode::kInvalidArgument,
         "{} examples are less than a batch of {}, and what does not fill one is left out "
         "(dataloader_drop_last, same_dataset_within_batch)",
         data_.size(), options_.per_device_train_batch_size);
  }
  const size_t accumulated = options_.gradient_accumulation_steps;
  out.steps = static_cast<int64_t>((out.micro_batches + accumulated - 1) / accumulated);
  out.total = options_.max_steps > 0
                  ? options_.max_steps
                  : static_cast<int64_t>(
                        std::ceil(options_.num_train_epochs * static_cast<double>(out.steps)));
  return out;
}

const Batch& Trainer::batch_at(int64_t epoch, size_t micro_batch) const {
  if (epoch != ordered_epoch_) {
    batches_ = data_.batches(static_cast<uint64_t>(epoch));
    ordered_epoch_ = epoch;
  }
  return batches_[micro_batch];
}

Sequences Trainer::sequences_of(const Batch& batch, int64_t epoch) const {
  std::vector<Group> groups;
  for (uint32_t i : batch.examples) {
    groups.push_back(data_.group(i, batch.group_size, static_cast<uint64_t>(epoch)));
  }
  return tokenize_(groups);
}

// ---- a step

TrainBatch Trainer::batch_of(const Sequences& s, size_t begin, size_t end) const {
  TrainBatch out;
  out.packed = s.pack(begin, end, parts_.spec.positions);
  for (size_t i = begin; i < end; ++i) {
    out.numbers.push_back(first_number_ + static_cast<int32_t>(i));
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

double Trainer::run_groups(const Sequences& s, double weight) {
  double loss = 0;
  weight /= static_cast<double>(s.groups);
  in_parts(s, s.groups, s.group_size, [&](size_t begin, size_t end) {
    const NetworkOutput out = network_.forward(batch_of(s, begin, end), true);
    NetworkOutput d;
    d.vectors.resize(out.vectors.size());
    GroupScores scores{out.vectors, {}, static_cast<int64_t>(s.group_size)};
    if (!s.teacher.empty()) {
      scores.teacher = std::span(s.teacher).subspan(begin, end - begin);
    }
    loss += group_loss(scores, weight, d.vectors);
    network_.backward(d);
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

double Trainer::run_contrast(const Sequences& s, double weight) {
  const size_t n = s.encodings.size();
  // All at once; or first all outputs, then again part by part, now that each knows its gradient.
  NetworkOutput all, d;
  double loss = 0;
  bool done = false;
  in_parts(s, n, 1, [&](size_t begin, size_t end) {
    done = end - begin == n;
    const NetworkOutput part = network_.forward(batch_of(s, begin, end), done);
    const auto append = [](std::vector<float>& to, const std::vector<float>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(all.vectors, part.vectors);
    append(all.token_weights, part.token_weights);
    append(all.token_vectors, part.token_vectors);
    if (!done) return;
    loss = contrast(s, all, weight, d);
    network_.backward(d);
  });
  if (done) return loss;
  loss = contrast(s, all, weight, d);
  const auto cut = [](const std::vector<float>& from, size_t begin, size_t end) {
    return std::vector<float>(from.begin() + static_cast<std::ptrdiff_t>(begin),
                              from.begin() + static_cast<std::ptrdiff_t>(end));
  };
  in_parts(s, n, 1, [&](size_t begin, size_t end) {
    network_.forward(batch_of(s, begin, end), true);
    const size_t first = s.tokens(0, begin), last = s.tokens(0, end);
    const auto width = static_cast<size_t>(network_.outputs());
    NetworkOutput part;
    part.vectors = cut(d.vectors, begin * width, end * width);
    if (!d.token_weights.empty()) {
      const auto token_width = static_cast<size_t>(parts_.spec.colbert_dimension);
      part.token_weights = cut(d.token_weights, first, last);
      part.token_vectors = cut(d.token_vectors, first * token_width, last * token_width);
    }
    network_.backward(part);
  });
  return loss;
}

double Trainer::run_micro_batch(const Sequences& s, double weight) {
  return options_.task == TrainTask::kReranker ? run_groups(s, weight) : run_contrast(s, weight);
}

TrainStep Trainer::run_step(int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t epoch = step / epochs_.steps;
  const size_t accumulated = options_.gradient_accumulation_steps;
  const size_t first = static_cast<size_t>(step % epochs_.steps) * accumulated;
  const size_t end = std::min(epochs_.micro_batches, first + accumulated);
  TrainStep out;
  out.step = step + 1;
  out.steps = epochs_.total;
  out.epoch = static_cast<double>(step + 1) / static_cast<double>(epochs_.steps);
  out.learning_rate = options_.learning_rate * schedule_.factor(step);
  parameters_.zero_gradients(network_.ops());
  step_seed_ = derived_key(options_.seed, static_cast<uint64_t>(step), kSteps);
  first_number_ = 0;
  for (size_t micro_batch = first; micro_batch < end; ++micro_batch) {
    const Batch& batch = batch_at(epoch, micro_batch);
    const Sequences s = sequences_of(batch, epoch);
    contrast_.in_batch_negatives = batch.in_batch_negatives && !options_.no_in_batch_neg;
    out.loss += run_micro_batch(s, 1.0 / static_cast<double>(end - first));
    out.tokens += s.tokens(0, s.encodings.size());
    first_number_ += static_cast<int32_t>(s.encodings.size());
  }
  out.gradient_norm = gradient_norm(parameters_, network_.ops());
  if (!std::isfinite(out.loss) || !std::isfinite(out.gradient_norm)) {
    const std::string where = not_finite(parameters_, network_.ops());
    if (!options_.skip_not_finite) {
      fail(ErrorCode::kInvalidArgument,
           "step {}: the loss is {} and the gradient's norm {}{}; try a lower learning_rate, or "
           "leave such steps out with skip_not_finite",
           out.step, out.loss, out.gradient_norm,
           where.empty() ? "" : fmt::format(", first in {}", where));
    }
    out.skipped = true;
  } else {
    const double clip = options_.max_grad_norm > 0
                            ? std::min(1.0, options_.max_grad_norm / (out.gradient_norm + 1e-6))
                            : 1.0;
    update(parameters_, network_.ops(), options_, out.learning_rate, clip, ++state_.updates);
  }
  state_.step = step + 1;
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

// ---- the run

std::string Trainer::fingerprint() const {
  // All that a step depends on; what only reports or spreads the work is left out.
  const TrainOptions& o = options_;
  return fmt::format(
      "data {}, {} steps, accumulation {}, learning rate {} {} warm-up {}, weight decay {}, "
      "clipping "
      "{}, AdamW {} {} {}, lengths {} and {}, dropout {}, distillation {} {}, instructions \"{}\" "
      "{} "
      "\"{}\" {}, shuffled {}, temperature {}, normalised {}, dimensions [{}], own negatives {}, "
      "M3 {} "
      "{} {}, frozen {} {} {} {}",
      data_.fingerprint(), epochs_.total, o.gradient_accumulation_steps, o.learning_rate,
      o.lr_scheduler_type, warmup_steps(o, epochs_.total), o.weight_decay, o.max_grad_norm,
      o.adam_beta1, o.adam_beta2, o.adam_epsilon, o.query_max_len, o.passage_max_len, o.dropout,
      o.knowledge_distillation, o.kd_loss_type, o.query_instruction.value_or(""),
      o.query_instruction_format, o.passage_instruction.value_or(""), o.passage_instruction_format,
      o.shuffle_ratio, o.temperature, o.normalize_embeddings, fmt::join(o.mrl_dims, " "),
      o.no_in_batch_neg, o.unified_finetuning, o.use_self_distill, o.self_distill_start_step,
      o.freeze_words, o.fix_position_embedding, o.freeze_layers, o.fix_encoder);
}

TrainReport Trainer::run(const TrainEvents& events, std::stop_token stop) {
  const auto start = std::chrono::steady_clock::now();
  TrainReport report;
  report.plan = make_plan();
  if (events.planned) events.planned(report.plan);
  std::error_code ignored;
  const bool was_there = fs::exists(options_.output_dir, ignored);
  fs::create_directories(options_.output_dir, ignored);
  if (!fs::is_directory(options_.output_dir, ignored)) {
    fail(ErrorCode::kUnavailable, "{}: cannot be made a directory", options_.output_dir.string());
  }
  UnfinishedDirectory cleanup(was_there ? fs::path() : options_.output_dir);
  state_.fingerprint = fingerprint();
  if (options_.resume) {
    const auto checkpoint = newest_checkpoint(options_.output_dir);
    if (!checkpoint) {
      fail(ErrorCode::kNotFound, "{}: no checkpoint to go on from", options_.output_dir.string());
    }
    state_ = read_checkpoint(*checkpoint, state_.fingerprint, parameters_, *stream_);
  }
  report.first_step = state_.step;
  RunFiles files(options_, state_.step);
  const auto save = [&] {
    const fs::path path = write_checkpoint(*parts_.source, parts_.spec, parameters_, *stream_,
                                           state_, options_.output_dir, options_.save_total_limit);
    cleanup.keep();
    if (events.saved) events.saved(path);
  };
  for (int64_t step = state_.step; step < epochs_.total; ++step) {
    if (stop.stop_requested()) {
      report.stopped = true;
      save();
      break;
    }
    const TrainStep done = run_step(step);
    report.tokens += done.tokens;
    files.add(done);
    if (events.step) events.step(done);
    if (options_.save_steps > 0 && done.step % options_.save_steps == 0 &&
        done.step < epochs_.total) {
      save();
    }
  }
  files.finish(report);
  if (!report.stopped) {
    write_model(*parts_.source, parts_.spec, parameters_, *stream_, options_.output_dir);
    if (events.saved) events.saved(options_.output_dir);
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  cleanup.keep();
  files.write_pages(report);
  return report;
}

}  // namespace tamis::training
