#include "train_options.h"

namespace tamis::cli {
namespace {

/// What options of one group have in common.
class Group {
 public:
  Group(CLI::App& app, std::string name) : app_(app), name_(std::move(name)) {}

  template <class T>
  CLI::Option* value(const std::string& name, T& to, const std::string& type,
                     const std::string& description) {
    return app_.add_option(both(name), to, description)->type_name(type)->group(name_);
  }
  void number(const std::string& name, double& to, const std::string& description) {
    value(name, to, "NUMBER", description);
  }
  void count(const std::string& name, size_t& to, size_t least, const std::string& description) {
    add_count(app_, both(name), to, least, description)->group(name_);
  }
  void choice(const std::string& name, std::string& to, const std::vector<std::string>& words,
              const std::string& description) {
    add_choice(app_, both(name), to, words, description)->group(name_);
  }
  /// "--name", "--name True", "--name false", as HfArgumentParser takes it.
  void flag(const std::string& name, bool& to, const std::string& description) {
    value(name, to, "[BOOL]", description)->expected(0, 1)->default_str("true");
  }

 private:
  CLI::App& app_;
  std::string name_;
};

void add_data_options(CLI::App& app, TrainArguments& options) {
  TrainOptions& o = options.train;
  Group data(app, "Data");
  data.value("train_data", options.train_data, "PATH", "JSON lines, files or directories")
      ->required();
  data.count("train_group_size", o.train_group_size, 2, "passages of a query (default: 8)");
  data.count("query_max_len", o.query_max_len, 1, "tokens (default: 32)");
  data.count("passage_max_len", o.passage_max_len, 1, "tokens (default: 128)");
  data.count("max_example_num_per_dataset", o.max_example_num_per_dataset, 1, "lines of a file");
  data.flag("knowledge_distillation", o.knowledge_distillation,
            "learn pos_scores and neg_scores too");
  data.number("shuffle_ratio", o.shuffle_ratio,
              "of long passages whose parts change places (default: 0)");
  const std::string kind = o.task == TrainTask::kReranker ? "rerank" : "retrieval";
  data.value("query_instruction_for_" + kind, options.query_instruction, "TEXT",
             "before each query");
  data.value("query_instruction_format", o.query_instruction_format, "FORMAT", "default: {}{}");
  data.value("passage_instruction_for_" + kind, options.passage_instruction, "TEXT",
             "before each passage");
  data.value("passage_instruction_format", o.passage_instruction_format, "FORMAT", "default: {}{}");
}

void add_training_options(CLI::App& app, TrainArguments& options) {
  TrainOptions& o = options.train;
  Group run(app, "Training");
  run.value("output_dir", options.output_dir, "DIR", "directory to make")->required();
  run.count("per_device_train_batch_size", o.per_device_train_batch_size, 1,
            "queries of a batch (default: 8)");
  run.count("gradient_accumulation_steps", o.gradient_accumulation_steps, 1,
            "batches of a step (default: 1)");
  run.number("num_train_epochs", o.num_train_epochs, "default: 3");
  run.value("max_steps", o.max_steps, "N", "instead of epochs");
  run.flag("dataloader_drop_last", o.dataloader_drop_last,
           "leave out a last batch that is not full");
  run.number("learning_rate", o.learning_rate, "default: 5e-5");
  run.choice("lr_scheduler_type", o.lr_scheduler_type,
             {"linear", "cosine", "constant", "constant_with_warmup"}, "default: linear");
  run.number("warmup_ratio", o.warmup_ratio, "of the steps (default: 0)");
  run.value("warmup_steps", o.warmup_steps, "N", "default: by the ratio");
  run.number("weight_decay", o.weight_decay, "default: 0");
  run.number("adam_beta1", o.adam_beta1, "default: 0.9");
  run.number("adam_beta2", o.adam_beta2, "default: 0.999");
  run.number("adam_epsilon", o.adam_epsilon, "default: 1e-8");
  run.number("max_grad_norm", o.max_grad_norm,
             "longer gradients are scaled; 0: never (default: 1)");
  run.value("seed", o.seed, "N", "default: 42");
  run.flag("dropout", o.dropout, "with the rates of config.json (default: true)");
  run.flag("bf16", o.bf16, "products in bf16, where a device has them");
  run.flag("fp16", o.fp16, "in f16, with a loss scale");
  run.flag("fix_position_embedding", o.fix_position_embedding, "the position table stays");
  run.flag("freeze_words", o.freeze_words, "the word table stays");
  run.value("freeze_layers", o.freeze_layers, "N", "embeddings and N layers from the bottom stay");
  Group lora(app, "LoRA");
  lora.flag("use_lora", o.use_lora, "low-rank adapters and heads train, all else stays");
  lora.value("lora_rank", o.lora_rank, "N", "default: 64");
  lora.number("lora_alpha", o.lora_alpha, "an adapter counts alpha / rank (default: 16)");
  lora.number("lora_dropout", o.lora_dropout, "of what an adapter reads (default: 0.1)");
  lora.value("target_modules", o.target_modules, "NAME...",
             "query, output.dense, ... (default: all-linear, of the layers)");
}

void add_safety_options(CLI::App& app, TrainArguments& options) {
  TrainOptions& o = options.train;
  Group safety(app, "Memory and safety");
  safety
      .value("gradient_checkpointing", o.gradient_checkpointing, "none|attention|N",
             "compute again in backward (alone: 1)")
      ->expected(0, 1)
      ->default_str("1");
  safety.count("sub_batch_tokens", o.sub_batch_tokens, 0,
               "through the model at a time (default: all)");
  safety.value("memory_limit", options.memory_limit, "SIZE", "choose the two for at most SIZE");
  safety.value("save_steps", o.save_steps, "N",
               "a checkpoint after so many; 0: none (default: 500)");
  safety.choice("save_strategy", options.save_strategy, {"steps", "no", "epoch"},
                "no: no checkpoints; epoch counts as steps (default: steps)");
  safety.count("save_total_limit", o.save_total_limit, 1, "checkpoints to keep (default: 2)");
  safety.flag("resume_from_checkpoint", o.resume, "go on from the newest one of output_dir");
  safety.flag("overwrite_output_dir", o.overwrite_output_dir, "write over what is there");
  safety.flag("skip_not_finite", o.skip_not_finite, "leave out steps whose loss is not finite");
  Group reports(app, "Reports");
  reports.value("logging_steps", o.logging_steps, "N", "a line after so many (default: 10)");
  reports.value("report_to", options.report_to, "none|tensorboard",
                "event files too (default: none)");
  reports.value("logging_dir", options.logging_dir, "DIR",
                "of the event files (default: runs in output_dir)");
  Group device(app, "Device");
  device.count("threads", options.threads, 0, "that compute (default: one for each core)");
  device.value("device", options.device, "NAME",
               "cpu (default), cuda:0; cpu,cpu: each with its own batch");
  device.value("cuda", options.cuda, "LIST", "how GPUs are used: nccl=FILE");
  device.value("cuda_plugin", options.cuda_plugin, "FILE",
               "libtamis_cuda.so (default: the one beside this program)");
  device.value("isa", options.isa, "NAME", "instruction set of the cpu");
}

void add_embedder_options(CLI::App& app, TrainArguments& options) {
  TrainOptions& o = options.train;
  Group embedder(app, "Embedders");
  embedder.number("temperature", o.temperature, "default: 0.02");
  embedder.choice("sentence_pooling_method", o.sentence_pooling_method,
                  {"cls", "mean", "last_token"}, "default: the model's own");
  embedder.flag("normalize_embeddings", o.normalize_embeddings, "default: true");
  embedder.choice("kd_loss_type", o.kd_loss_type, {"kl_div", "m3_kd_loss"}, "default: kl_div");
  embedder.value("mrl_dims", o.mrl_dims, "N...",
                 "Matryoshka: the losses of these first dimensions");
  embedder.flag("use_mrl", options.use_mrl, "mrl_dims count (default: true)");
  embedder.flag("same_dataset_within_batch", o.same_dataset_within_batch, "each batch of one PATH");
  embedder.flag("no_in_batch_neg", o.no_in_batch_neg, "a query's own negatives alone");
  embedder.flag("negatives_cross_device", o.negatives_cross_device,
                "the passages of all devices are negatives");
}

void add_m3_options(CLI::App& app, TrainOptions& o) {
  Group m3(app, "BGE-M3");
  m3.flag("unified_finetuning", o.unified_finetuning,
          "vectors, lexical weights and ColBERT together (default: true)");
  m3.flag("use_self_distill", o.use_self_distill, "the sum of the three teaches each of them");
  m3.value("self_distill_start_step", o.self_distill_start_step, "N",
           "after so many steps (default: at once)");
  m3.value("colbert_dim", o.colbert_dim, "N", "of new heads (default: the hidden size)");
  m3.flag("fix_encoder", o.fix_encoder, "the two heads alone train");
}

const std::vector<std::string> kIgnored = {"dataloader_num_workers",
                                           "logging_strategy",
                                           "cache_dir",
                                           "cache_path",
                                           "trust_remote_code",
                                           "use_fast_tokenizer",
                                           "pad_to_multiple_of",
                                           "ddp_find_unused_parameters",
                                           "deepspeed",
                                           "sub_batch_size",  // sub_batch_tokens bounds memory here
                                           "max_len",
                                           "small_threshold",
                                           "drop_threshold",
                                           "do_train",
                                           "model_type",
                                           "optim",
                                           "token",
                                           "save_safetensors"};

}  // namespace

const char* const kTrainFooter = R"(Examples:
  tamis train reranker --model_name_or_path models/bge-reranker-v2-m3 --train_data pairs.jsonl \
    --output_dir out --train_group_size 8 --per_device_train_batch_size 4 --learning_rate 6e-5
  tamis train embedder --model_name_or_path models/bge-m3 --train_data data/ --output_dir out
  tamis rerank -m out "what is a panda?" "hi" "a bear of China"

A line of --train_data is {"query": "...", "pos": ["..."], "neg": ["..."]}, and may have prompts and
"pos_scores" and "neg_scores" (--knowledge_distillation). --gradient_checkpointing N keeps the input
of every Nth layer alone. Names are FlagEmbedding's and transformers'; each may be written with -
for _. Ctrl-C ends the run after its step, with a checkpoint.)";

std::shared_ptr<TrainArguments> add_train_task(CLI::App& train, const std::string& name,
                                               TrainTask task, const std::string& description) {
  auto options = std::make_shared<TrainArguments>();
  options->train.task = task;
  CLI::App* app = train.add_subcommand(name, description);
  app->set_help_flag("-h,--help", "show help");
  app->add_option("-m," + both("model_name_or_path"), options->model, "model directory")
      ->type_name("DIR")
      ->required()
      ->group("Data");
  add_data_options(*app, *options);
  add_training_options(*app, *options);
  if (task != TrainTask::kReranker) add_embedder_options(*app, *options);
  if (task == TrainTask::kM3) add_m3_options(*app, options->train);
  add_safety_options(*app, *options);
  add_ignored_options(*app, kIgnored, options->ignored);
  add_output_options(*app, options->output, {"text", "jsonl"});
  add_progress_option(*app, options->output);
  app->footer(kTrainFooter);
  return options;
}

}  // namespace tamis::cli
