// `tamis train`: fine-tuning on FlagEmbedding's data, with its arguments.

#include "tamis/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <memory>
#include <stop_token>

#include "arguments.h"
#include "base/byte_size.h"
#include "commands.h"
#include "default_model.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "tamis/place.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis train reranker --model_name_or_path models/bge-reranker-v2-m3 --train_data pairs.jsonl \
    --output_dir out --train_group_size 8 --per_device_train_batch_size 4 --learning_rate 6e-5
  tamis train embedder --model_name_or_path models/bge-m3 --train_data data/ --output_dir out
  tamis rerank -m out "what is a panda?" "hi" "a bear of China"

A line of --train_data is {"query": "...", "pos": ["..."], "neg": ["..."]}, and may have "pos_scores" and
"neg_scores" (--knowledge_distillation) and prompts. Names are FlagEmbedding's and transformers'; each may
be written with - for _. Ctrl-C ends the run after its step, with a checkpoint.)";

struct Options {
  TrainOptions train;
  std::string model, output_dir, memory_limit, query_instruction, passage_instruction;
  std::string device = "cpu", isa, cuda_plugin;
  std::vector<std::string> train_data;
  std::vector<std::string> ignored;  ///< of FlagEmbedding's arguments
  size_t threads = 0;
  OutputOptions output;
};

/// "--max_steps" is also "--max-steps".
std::string both(const std::string& name) {
  std::string dashes = name;
  for (char& c : dashes) c = c == '_' ? '-' : c;
  return dashes == name ? "--" + name : "--" + name + ",--" + dashes;
}

std::stop_source& stop_requests() {
  static std::stop_source source;
  return source;
}

// A second one ends the process at once.
extern "C" void stop_after_step(int signal) {
  std::signal(signal, SIG_DFL);
  stop_requests().request_stop();
}

std::string megabytes(size_t bytes) {
  return fmt::format("{:.0f} MB", static_cast<double>(bytes) / 1e6);
}

void say_plan(const Notices& notices, const TrainPlan& plan) {
  notices.say(fmt::format("{} steps over {} examples; {} of {} parameters train",
                          grouped(static_cast<unsigned long long>(plan.steps)),
                          grouped(plan.examples),
                          grouped(static_cast<unsigned long long>(plan.trained_parameters)),
                          grouped(static_cast<unsigned long long>(plan.parameters))));
  notices.say(
      fmt::format("memory: about {} at most: weights {}, gradients and moments {}, activations {} "
                  "(checkpointing: {}, up to {} "
                  "tokens at a time)",
                  megabytes(plan.peak_bytes), megabytes(plan.weight_bytes),
                  megabytes(plan.state_bytes), megabytes(plan.activation_bytes),
                  plan.gradient_checkpointing, grouped(plan.sub_batch_tokens)));
}

void write_step(std::string& out, const TrainStep& s, bool json) {
  if (json) {
    out += fmt::format(
        R"({{"step":{},"epoch":{:.4f},"loss":{:.6g},"grad_norm":{:.6g},"learning_rate":{:.6g},"tokens":{},"seconds":{:.4f}{}}})",
        s.step, s.epoch, s.loss, s.gradient_norm, s.learning_rate, s.tokens, s.seconds,
        s.skipped ? ",\"skipped\":true" : "");
  } else {
    out += fmt::format(
        "step {:>6}/{}  epoch {:6.3f}  loss {:.4f}  grad {:8.3f}  lr {:.2e}  {:6.0f} tokens/s{}",
        s.step, s.steps, s.epoch, s.loss, s.gradient_norm, s.learning_rate,
        static_cast<double>(s.tokens) / s.seconds, s.skipped ? "  left out: not finite" : "");
  }
  out += '\n';
}

/// "3.21 █▇▅▃▂▁ 0.42": the first loss, the curve in at most 60 columns, the last one.
std::string curve_of(const std::vector<LossPoint>& losses) {
  constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr size_t kColumns = 60;
  const size_t columns = std::min(kColumns, losses.size());
  std::vector<double> means;
  for (size_t c = 0; c < columns; ++c) {
    const size_t begin = c * losses.size() / columns, end = (c + 1) * losses.size() / columns;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += losses[i].loss;
    means.push_back(sum / static_cast<double>(end - begin));
  }
  const auto [low, high] = std::minmax_element(means.begin(), means.end());
  std::string out = fmt::format("{:.4g} ", losses.front().loss);
  for (double mean : means) {
    const double part = *high > *low ? (mean - *low) / (*high - *low) : 0;
    out += kBars[static_cast<size_t>(std::lround(part * 7))];
  }
  return out + fmt::format(" {:.4g}", losses.back().loss);
}

int run(Options options) {
  const Notices notices = options.output.notices();
  Output output = Output::open(plain(options.output.path));
  TrainOptions& how = options.train;
  how.model_name_or_path = find_model(plain(options.model), kDefaultReranker);
  how.output_dir = plain(options.output_dir);
  for (const std::string& path : options.train_data) how.train_data.emplace_back(plain(path));
  if (!options.query_instruction.empty()) how.query_instruction = plain(options.query_instruction);
  if (!options.passage_instruction.empty())
    how.passage_instruction = plain(options.passage_instruction);
  if (!options.memory_limit.empty())
    how.memory_limit_bytes = parse_bytes(plain(options.memory_limit));
  how.device = options.device;
  DevicesOptions devices;
  devices.cuda_plugin = plain(options.cuda_plugin);
  how.devices = std::make_shared<Devices>(devices);
  how.isa = options.isa;
  how.threads = static_cast<int>(options.threads);
  how.log = notices.sink();

  if (!options.ignored.empty()) {
    notices.say(
        fmt::format("has no use for, and goes on without: {}", fmt::join(options.ignored, ", ")));
  }
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, stop_after_step);
  Progress progress(!options.output.quiet && !options.output.no_progress, "steps");
  const bool json = options.output.format == "jsonl";
  TrainEvents events;
  events.planned = [&](const TrainPlan& plan) {
    say_plan(notices, plan);
    progress.begin_window(1.0);
  };
  events.step = [&](const TrainStep& step) {
    if (json || step.step % how.logging_steps == 0 || step.step == step.steps || step.skipped) {
      if (output.is_terminal()) progress.clear();
      write_step(output.buffer(), step, json);
      output.flush();
    }
    progress.update(static_cast<size_t>(step.step), static_cast<size_t>(step.steps));
  };
  events.saved = [&](const std::filesystem::path& path) {
    progress.clear();
    notices.say(fmt::format("wrote {}", path.string()));
  };
  const TrainReport report = train(how, events, stop_requests().get_token());
  progress.clear();
  output.finish();
  if (report.stopped) {
    notices.say("stopped; go on with --resume_from_checkpoint");
    return 130;
  }
  if (report.losses.size() > 1) notices.say("loss " + curve_of(report.losses));
  notices.say(fmt::format("{:.1f} s, {} tokens, loss {:.4f}", report.seconds,
                          grouped(report.tokens), report.final_loss));
  return 0;
}

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

void add_data_options(CLI::App& app, Options& options) {
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

void add_training_options(CLI::App& app, Options& options) {
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
  run.flag("fix_position_embedding", o.fix_position_embedding, "the position table stays");
  run.flag("freeze_words", o.freeze_words, "the word table stays");
  run.value("freeze_layers", o.freeze_layers, "N", "embeddings and N layers from the bottom stay");
}

void add_safety_options(CLI::App& app, Options& options) {
  TrainOptions& o = options.train;
  Group safety(app, "Memory and safety");
  safety
      .value("gradient_checkpointing", o.gradient_checkpointing, "none|attention|N",
             "compute again in backward: attention, or every Nth layer from its input; alone: 1")
      ->expected(0, 1)
      ->default_str("1");
  safety.count("sub_batch_tokens", o.sub_batch_tokens, 0,
               "through the model at a time (default: all)");
  safety.value("memory_limit", options.memory_limit, "SIZE", "choose the two for at most SIZE");
  safety.value("save_steps", o.save_steps, "N",
               "a checkpoint after so many; 0: none (default: 500)");
  safety.count("save_total_limit", o.save_total_limit, 1, "checkpoints to keep (default: 2)");
  safety.flag("resume_from_checkpoint", o.resume, "go on from the newest one of output_dir");
  safety.flag("overwrite_output_dir", o.overwrite_output_dir, "write over what is there");
  safety.flag("skip_not_finite", o.skip_not_finite, "leave out steps whose loss is not finite");
  safety.value("logging_steps", o.logging_steps, "N", "a line after so many (default: 10)");
  Group device(app, "Device");
  device.count("threads", options.threads, 0, "that compute (default: one for each core)");
  device.value("device", options.device, "NAME", "cpu (default), cuda:0");
  device.value("cuda_plugin", options.cuda_plugin, "FILE",
               "libtamis_cuda.so (default: the one beside this program)");
  device.value("isa", options.isa, "NAME", "instruction set of the cpu");
}

void add_embedder_options(CLI::App& app, TrainOptions& o) {
  Group embedder(app, "Embedders");
  embedder.number("temperature", o.temperature, "default: 0.02");
  embedder.choice("sentence_pooling_method", o.sentence_pooling_method,
                  {"cls", "mean", "last_token"}, "default: the model's own");
  embedder.flag("normalize_embeddings", o.normalize_embeddings, "default: true");
  embedder.choice("kd_loss_type", o.kd_loss_type, {"kl_div", "m3_kd_loss"}, "default: kl_div");
  embedder.value("mrl_dims", o.mrl_dims, "N...",
                 "Matryoshka: the losses of these first dimensions");
  embedder.flag("same_dataset_within_batch", o.same_dataset_within_batch, "each batch of one PATH");
  embedder.flag("no_in_batch_neg", o.no_in_batch_neg, "a query's own negatives alone");
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

/// What FlagEmbedding's scripts have and this has no use for: told, not refused.
void add_ignored_options(CLI::App& app, Options& options) {
  for (const char* name : {"fp16",
                           "bf16",
                           "dataloader_num_workers",
                           "report_to",
                           "logging_dir",
                           "save_strategy",
                           "logging_strategy",
                           "cache_dir",
                           "cache_path",
                           "trust_remote_code",
                           "use_fast_tokenizer",
                           "pad_to_multiple_of",
                           "ddp_find_unused_parameters",
                           "deepspeed",
                           "sub_batch_size",
                           "use_mrl",
                           "max_len",
                           "small_threshold",
                           "drop_threshold",
                           "do_train",
                           "model_type",
                           "negatives_cross_device",
                           "optim",
                           "token",
                           "save_safetensors"}) {
    app.add_option_function<std::string>(
           both(name), [&options, name](const std::string&) { options.ignored.push_back(name); },
           "")
        ->expected(0, 1)
        ->default_str("true")
        ->group("");  // not in the help
  }
}

std::shared_ptr<Options> add_task(CLI::App& train, const std::string& name, TrainTask task,
                                  const std::string& description) {
  auto options = std::make_shared<Options>();
  options->train.task = task;
  CLI::App* app = train.add_subcommand(name, description);
  app->set_help_flag("-h,--help", "show help");
  app->add_option("-m," + both("model_name_or_path"), options->model, "model directory")
      ->type_name("DIR")
      ->required()
      ->group("Data");
  add_data_options(*app, *options);
  add_training_options(*app, *options);
  if (task != TrainTask::kReranker) add_embedder_options(*app, options->train);
  if (task == TrainTask::kM3) add_m3_options(*app, options->train);
  add_safety_options(*app, *options);
  add_ignored_options(*app, *options);
  add_output_options(*app, options->output, {"text", "jsonl"});
  add_progress_option(*app, options->output);
  app->footer(kFooter);
  return options;
}

}  // namespace

Command add_train(CLI::App& root) {
  CLI::App* app = root.add_subcommand("train", "Fine-tune a reranker or an embedder");
  app->require_subcommand(1);
  app->footer(kFooter);
  const auto reranker =
      add_task(*app, "reranker", TrainTask::kReranker, "A cross-encoder, by groups of passages");
  const auto embedder = add_task(*app, "embedder", TrainTask::kEmbedder, "Vectors, by contrast");
  const auto m3 = add_task(*app, "m3", TrainTask::kM3, "BGE-M3's three outputs, by contrast");
  return {app, [app, reranker, embedder, m3](auto) {
            return run(app->got_subcommand("reranker")   ? *reranker
                       : app->got_subcommand("embedder") ? *embedder
                                                         : *m3);
          }};
}

}  // namespace tamis::cli
