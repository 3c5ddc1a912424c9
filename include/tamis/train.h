#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "tamis/device.h"
#include "tamis/log.h"

namespace tamis {

/// What is trained. The data of all is FlagEmbedding's: JSON lines of query, pos, neg, ...
enum class TrainTask {
  kReranker,  ///< a cross-encoder, by the scores of each group
  kEmbedder,  ///< vectors, by contrast
  kM3,        ///< BGE-M3: vectors, lexical weights and ColBERT vectors together
};

/// One process of several that train one model: each with one device, and where they meet. Rank 0
/// listens there, writes the model and gives the events.
struct TrainRanks {
  int rank = 0;
  int size = 1;
  std::string address = "127.0.0.1";
  int port = 29500;
  double timeout_s = 1800;  ///< in which a rank that is waited for must come
};

/// Names and defaults are those of FlagEmbedding and of transformers.TrainingArguments, which
/// docs/training.md tells apart from our own.
struct TrainOptions {
  TrainTask task = TrainTask::kReranker;
  std::filesystem::path model_name_or_path;       ///< a directory
  std::vector<std::filesystem::path> train_data;  ///< files, or directories of *.json and *.jsonl
  std::filesystem::path output_dir;

  // The data.
  size_t train_group_size = 8;  ///< passages of a query, the positive one included
  size_t query_max_len = 32;
  size_t passage_max_len = 128;
  size_t max_example_num_per_dataset = 100'000'000;
  bool same_dataset_within_batch = false;  ///< every batch is of one file or folder of train_data
  bool knowledge_distillation = false;     ///< with pos_scores and neg_scores
  double shuffle_ratio = 0;                ///< of the passages of over 100 characters
  std::optional<std::string> query_instruction;
  std::string query_instruction_format = "{}{}";
  std::optional<std::string> passage_instruction;
  std::string passage_instruction_format = "{}{}";

  // Embedders.
  double temperature = 0.02;
  bool normalize_embeddings = true;
  std::string sentence_pooling_method;  ///< "cls", "mean", "last_token"; "" = the model's own
  std::string kd_loss_type = "kl_div";  ///< or "m3_kd_loss"
  std::vector<int64_t> mrl_dims;        ///< Matryoshka
  bool no_in_batch_neg = false;         ///< also of data whose name ends so
  bool negatives_cross_device = false;  ///< the passages of all devices are a query's negatives

  // BGE-M3.
  bool unified_finetuning = true;        ///< all three; false: vectors alone, as an embedder
  bool use_self_distill = false;         ///< their sum teaches each of them
  int64_t self_distill_start_step = -1;  ///< after so many steps
  int64_t colbert_dim = -1;              ///< of new heads; -1 = the hidden size
  bool fix_encoder = false;              ///< the heads alone train

  // The run.
  size_t per_device_train_batch_size = 8;  ///< queries
  size_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  int64_t max_steps = -1;  ///< > 0: instead of epochs
  bool dataloader_drop_last = false;
  double learning_rate = 5e-5;
  double weight_decay = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1;
  std::string lr_scheduler_type = "linear";  ///< "cosine", "constant", "constant_with_warmup"
  double warmup_ratio = 0;
  int64_t warmup_steps = 0;
  uint64_t seed = 42;
  bool dropout = true;  ///< with the rates of config.json
  /// Operands of products in 16 bits, where a device has them; weights, sums and all else stay f32.
  /// f16 has a loss scale that follows the gradients, as torch's GradScaler.
  bool bf16 = false;
  bool fp16 = false;
  bool freeze_words = false;
  bool fix_position_embedding = false;
  int64_t freeze_layers = 0;  ///< the embeddings and so many layers from the bottom

  // Low-rank adapters beside the matrices of the layers, which, as all else but heads, stay as they
  // are. What is written has them added up, and as peft has them in output_dir/lora.
  bool use_lora = false;
  int64_t lora_rank = 64;
  double lora_alpha = 16;     ///< the product counts lora_alpha / lora_rank
  double lora_dropout = 0.1;  ///< of what an adapter reads
  std::vector<std::string> target_modules = {"all-linear"};  ///< or names: "query", "output.dense"

  // Memory.
  std::string gradient_checkpointing = "none";  ///< "attention", or of every so many layers: "1"
  size_t sub_batch_tokens =
      0;  ///< at most so many go through the model at a time; 0 = a whole batch
  /// What checkpointing and sub-batches are chosen for, unless they are given. None: on a card what
  /// is free there; elsewhere nothing is chosen.
  std::optional<size_t> memory_limit_bytes;

  // Safety and reports.
  int64_t save_steps = 500;  ///< a checkpoint after so many; 0 = none
  size_t save_total_limit = 2;
  bool resume = false;  ///< from the newest checkpoint of output_dir
  bool overwrite_output_dir = false;
  bool skip_not_finite =
      false;  ///< a step whose loss is not finite is left out, instead of the end
  int64_t logging_steps = 10;
  std::string report_to = "none";     ///< "tensorboard": event files
  std::filesystem::path logging_dir;  ///< where they go; empty = output_dir/runs

  // The machine.
  /// "cpu", or several separated by commas: each with a copy of the model and a batch of
  /// per_device_train_batch_size; their steps are those of one device with all of them.
  std::string device = "cpu";
  TrainRanks ranks;
  std::shared_ptr<Devices> devices;  ///< null = new ones
  std::string isa;
  int threads = 0;  ///< that compute, of all devices together; 0 = one for each core
  LogSink log;
};

/// One step of the optimiser.
struct TrainStep {
  int64_t step = 0;   ///< from 1
  int64_t steps = 0;  ///< in all
  double epoch = 0;
  double loss = 0;  ///< mean over the groups
  double gradient_norm = 0;
  double learning_rate = 0;
  size_t tokens = 0;
  double seconds = 0;
  bool skipped = false;
};

/// What a run will take; known before it starts.
struct TrainPlan {
  int64_t steps = 0;
  size_t examples = 0;
  int64_t parameters = 0;
  int64_t trained_parameters = 0;
  std::string gradient_checkpointing;
  size_t sub_batch_tokens = 0;
  size_t activation_bytes = 0;
  size_t state_bytes = 0;  ///< gradients and moments
  size_t weight_bytes = 0;
  size_t peak_bytes = 0;  ///< of the process; on a card, of the run there
};

/// A line of metrics.jsonl: the mean loss of the steps since the one before.
struct LossPoint {
  int64_t step = 0;
  double loss = 0;
};

struct TrainReport {
  TrainPlan plan;
  int64_t first_step = 0;  ///< where it went on
  double final_loss = 0;   ///< mean of the last logging_steps
  double seconds = 0;
  size_t tokens = 0;
  std::vector<LossPoint> losses;  ///< from the first step, also before a resume
  bool stopped = false;           ///< by the stop token: a checkpoint was written
};

/// Called from the thread of train().
struct TrainEvents {
  std::function<void(const TrainPlan&)> planned = {};
  std::function<void(const TrainStep&)> step = {};
  std::function<void(const std::filesystem::path&)> saved = {};  ///< a checkpoint, or the model
};

/// Trains, and writes a Hugging Face directory to output_dir: model.safetensors (f32), config.json,
/// the tokenizer's files, metrics.jsonl, training.svg (the losses), training.html (the run as a
/// page); checkpoints below it as checkpoint-N, whole or not at all. Errors: invalid_argument (an
/// option), data_loss (a line of data: file, line, field, expected, got; or the model), not_found,
/// unimplemented, resource_exhausted (memory or disk), unavailable (also: another rank has ended).
TrainReport train(const TrainOptions& options, const TrainEvents& events = {},
                  std::stop_token stop = {});

}  // namespace tamis
