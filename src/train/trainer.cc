#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/ranges.h>

#include "base/fail.h"
#include "train/run_files.h"

namespace tamis::training {
namespace {

namespace fs = std::filesystem;

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

Freeze freeze_of(const TrainOptions& options) {
  Freeze out = {options.freeze_words, options.fix_position_embedding, options.freeze_layers,
                options.fix_encoder,  trains_token_heads(options),    {}};
  if (options.use_lora) {
    out.lora = {options.lora_rank, options.lora_alpha, static_cast<float>(options.lora_dropout),
                options.target_modules};
  }
  return out;
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
  positive("logging_steps", static_cast<double>(options.logging_steps));
  positive("temperature", options.temperature);
  if (options.fp16 && options.bf16) {
    fail(ErrorCode::kInvalidArgument, "fp16 and bf16: expected one of them");
  }
  if (options.use_lora) {
    positive("lora_rank", static_cast<double>(options.lora_rank));
    positive("lora_alpha", options.lora_alpha);
    if (options.fix_encoder) {
      fail(ErrorCode::kInvalidArgument, "use_lora and fix_encoder: adapters are in the encoder");
    }
  }
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

/// Batches are those of all devices together.
TrainOptions for_all(const TrainOptions& options, const Collective& collective) {
  TrainOptions out = options;
  out.per_device_train_batch_size *= static_cast<size_t>(collective.size());
  return out;
}

}  // namespace

bool trains_token_heads(const TrainOptions& options) {
  return options.task == TrainTask::kM3 && options.unified_finetuning;
}

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
      data_(for_all(options, *parts.collective)),
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
  choose_precision();
  // Adapters go on beside the matrices that they began with.
  if (parameters_.lora()) source_hash_ = parameters_.hash();
}

void Trainer::choose_precision() {
  constexpr double kFirstScale = 65536;
  if (!options_.fp16 && !options_.bf16) return;
  const DType dtype = options_.fp16 ? DType::kF16 : DType::kBF16;
  if (!network_.ops().set_product_dtype(dtype)) {
    log_to(options_.log, LogLevel::kWarning, "{} trains in f32: goes on without {}",
           parts_.device->info().name, options_.fp16 ? "fp16" : "bf16");
    return;
  }
  product_dtype_ = dtype;
  if (options_.fp16) state_.loss_scale = kFirstScale;
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
      "{} {}, frozen {} {} {} {}, LoRA {}, products in {}, pooling {}, "
      "incomplete batches {}, negatives of {} devices",
      data_.fingerprint(), epochs_.total, o.gradient_accumulation_steps, o.learning_rate,
      o.lr_scheduler_type, warmup_steps(o, epochs_.total), o.weight_decay, o.max_grad_norm,
      o.adam_beta1, o.adam_beta2, o.adam_epsilon, o.query_max_len, o.passage_max_len, o.dropout,
      o.knowledge_distillation, o.kd_loss_type, o.query_instruction.value_or(""),
      o.query_instruction_format, o.passage_instruction.value_or(""), o.passage_instruction_format,
      o.shuffle_ratio, o.temperature, o.normalize_embeddings, fmt::join(o.mrl_dims, " "),
      o.no_in_batch_neg, o.unified_finetuning, o.use_self_distill, o.self_distill_start_step,
      o.freeze_words, o.fix_position_embedding, o.freeze_layers, o.fix_encoder,
      !o.use_lora ? "none"
                  : fmt::format("{} {} {} [{}]", o.lora_rank, o.lora_alpha, o.lora_dropout,
                                fmt::join(o.target_modules, " ")) +
                        fmt::format(" of weights {:016x}", source_hash_),
      name_of(product_dtype_), static_cast<int>(parts_.spec.pooling), !o.dataloader_drop_last,
      o.task == TrainTask::kReranker || o.no_in_batch_neg ? "any number of"
      : o.negatives_cross_device                          ? "all"
                                 : std::to_string(parts_.collective->size()));
}

bool Trainer::any_stops(bool stops) {
  const char mine = stops ? 1 : 0;
  const auto all = gather_values<char>(*parts_.collective, std::span(&mine, 1));
  return std::any_of(all.begin(), all.end(), [](const auto& of_rank) { return of_rank[0] != 0; });
}

void Trainer::resume() {
  state_.fingerprint = fingerprint();
  if (options_.resume) {
    const auto checkpoint = newest_checkpoint(options_.output_dir);
    if (!checkpoint) {
      fail(ErrorCode::kNotFound, "{}: no checkpoint to go on from", options_.output_dir.string());
    }
    state_ = read_checkpoint(*checkpoint, state_.fingerprint, *parts_.source, parts_.spec,
                             parameters_, *stream_);
  }
  if (parts_.collective->size() == 1) return;
  // Other data or options, another model or checkpoint, or sums in another order: the ranks would
  // drift apart unseen.
  const DeviceInfo& device = parts_.device->info();
  const std::string mine =
      fmt::format("{} at step {} with weights {:016x}, loss scale {}, computed by {}",
                  state_.fingerprint, state_.step, parameters_.hash(), state_.loss_scale,
                  device.isa.empty() ? device.kind : device.kind + " with " + device.isa);
  const auto all = gather_values<char>(*parts_.collective, mine);
  for (size_t r = 0; r < all.size(); ++r) {
    if (const std::string other(all[r].begin(), all[r].end()); other != mine) {
      fail(ErrorCode::kInvalidArgument,
           "rank {} of the run is at another one than rank {}:\n  it has {}\n  here   {}\n"
           "give all the same data, options, model and instruction set (isa)",
           r, parts_.collective->rank(), other, mine);
    }
  }
}

TrainReport Trainer::follow(TrainReport report, std::stop_token stop) {
  for (int64_t step = state_.step; step < epochs_.total; ++step) {
    report.stopped = any_stops(stop.stop_requested());
    if (report.stopped) break;
    report.tokens += run_step(step).tokens;
  }
  return report;
}

void Trainer::prepare_output(const TrainPlan& plan) const {
  std::error_code error;
  fs::create_directories(options_.output_dir, error);
  if (!fs::is_directory(options_.output_dir, error)) {
    fail(ErrorCode::kUnavailable, "{}: cannot be made a directory", options_.output_dir.string());
  }
  // What another run left would be pruned and resumed by the numbers of its steps.
  if (!options_.resume) discard_checkpoints(options_.output_dir);
  const fs::space_info disk = fs::space(options_.output_dir, error);
  if (!error) check_disk(disk_need(plan), disk.available, options_.output_dir, options_.log);
}

DiskNeed Trainer::disk_need(const TrainPlan& plan) const {
  DiskNeed out;
  out.model = 4 * static_cast<size_t>(plan.parameters);
  // Of gradients and two moments the moments are written.
  out.checkpoint = out.model + state_bytes_ / 3 * 2;
  if (options_.save_steps > 0) {
    const auto made = static_cast<size_t>((plan.steps - 1) / options_.save_steps);
    // A new one is whole before the oldest goes.
    out.checkpoints = std::min(made, options_.save_total_limit + 1);
  }
  return out;
}

TrainReport Trainer::run(const TrainEvents& events, std::stop_token stop) {
  const auto start = std::chrono::steady_clock::now();
  TrainReport report;
  join_devices();
  parts_.collective->gather({});  // all of this process have their weights now
  report.plan = make_plan();
  parts_.collective->gather({});  // and nobody takes more while another one plans
  if (parts_.collective->rank() > 0) {
    resume();
    return follow(report, stop);
  }
  if (events.planned) events.planned(report.plan);
  std::error_code ignored;
  const bool was_there = fs::exists(options_.output_dir, ignored);
  UnfinishedDirectory cleanup(was_there ? fs::path() : options_.output_dir);
  prepare_output(report.plan);
  resume();
  report.first_step = state_.step;
  RunFiles files(options_, state_.step);
  const auto save = [&] {
    const fs::path path = write_checkpoint(*parts_.source, parts_.spec, parameters_, *stream_,
                                           state_, options_.output_dir, options_.save_total_limit);
    cleanup.keep();
    if (events.saved) events.saved(path);
  };
  for (int64_t step = state_.step; step < epochs_.total; ++step) {
    if (any_stops(stop.stop_requested())) {
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
