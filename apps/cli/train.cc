// `tamis train`: fine-tuning on FlagEmbedding's data, with its arguments.

#include "tamis/train.h"

#include <fmt/format.h>
#include <unistd.h>

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
  std::string device = "cpu", isa;
  std::vector<std::string> train_data;
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
  how.isa = options.isa;
  how.threads = static_cast<int>(options.threads);
  how.log = notices.sink();

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
  notices.say(fmt::format("{:.1f} s, {} tokens, loss {:.4f}", report.seconds,
                          grouped(report.tokens), report.final_loss));
  return 0;
}

void add_data_options(CLI::App& app, TrainOptions& o, Options& options) {
  const auto group = [](CLI::Option* option) { option->group("Data"); };
  group(app.add_option(both("train_data"), options.train_data, "JSON lines, files or directories")
            ->type_name("PATH")
            ->required());
  group(add_count(app, both("train_group_size"), o.train_group_size, 2,
                  "passages of a query (default: 8)"));
  group(add_count(app, both("query_max_len"), o.query_max_len, 1, "tokens (default: 32)"));
  group(add_count(app, both("passage_max_len"), o.passage_max_len, 1, "tokens (default: 128)"));
  group(add_count(app, both("max_example_num_per_dataset"), o.max_example_num_per_dataset, 1,
                  "lines of a file"));
  group(app.add_flag(both("knowledge_distillation") + "{true}", o.knowledge_distillation,
                     "learn pos_scores and neg_scores as well"));
  group(app.add_option(both("shuffle_ratio"), o.shuffle_ratio,
                       "passages whose parts change places (default: 0)")
            ->type_name("RATE"));
  group(
      app.add_option(
             "--query_instruction_for_retrieval,--query_instruction_for_rerank,--query-instruction",
             options.query_instruction, "before each query")
          ->type_name("TEXT"));
  group(app.add_option("--query_instruction_format", o.query_instruction_format, "default: {}{}")
            ->type_name("FORMAT"));
  group(app.add_option("--passage_instruction_for_retrieval,--passage_instruction_for_rerank,--"
                       "passage-instruction",
                       options.passage_instruction, "before each passage")
            ->type_name("TEXT"));
  group(
      app.add_option("--passage_instruction_format", o.passage_instruction_format, "default: {}{}")
          ->type_name("FORMAT"));
}

void add_run_options(CLI::App& app, TrainOptions& o, Options& options) {
  const auto group = [](CLI::Option* option) { option->group("Training"); };
  const auto number = [&](const std::string& name, double& value, const std::string& description) {
    group(app.add_option(both(name), value, description)->type_name("NUMBER"));
  };
  group(app.add_option(both("output_dir"), options.output_dir, "directory to make")
            ->type_name("DIR")
            ->required());
  group(add_count(app, both("per_device_train_batch_size"), o.per_device_train_batch_size, 1,
                  "queries of a batch (default: 8)"));
  group(add_count(app, both("gradient_accumulation_steps"), o.gradient_accumulation_steps, 1,
                  "batches of a step (default: 1)"));
  number("num_train_epochs", o.num_train_epochs, "default: 3");
  group(app.add_option(both("max_steps"), o.max_steps, "instead of epochs")->type_name("N"));
  group(app.add_flag(both("dataloader_drop_last") + "{true}", o.dataloader_drop_last,
                     "leave out a last batch that is not full"));
  number("learning_rate", o.learning_rate, "default: 5e-5");
  number("weight_decay", o.weight_decay, "default: 0");
  number("adam_beta1", o.adam_beta1, "default: 0.9");
  number("adam_beta2", o.adam_beta2, "default: 0.999");
  number("adam_epsilon", o.adam_epsilon, "default: 1e-8");
  number("max_grad_norm", o.max_grad_norm,
         "gradients are scaled down to this length; 0: never (default: 1)");
  group(add_choice(app, both("lr_scheduler_type"), o.lr_scheduler_type,
                   {"linear", "cosine", "constant", "constant_with_warmup"}, "default: linear"));
  number("warmup_ratio", o.warmup_ratio, "of the steps (default: 0)");
  group(app.add_option(both("warmup_steps"), o.warmup_steps, "default: by the ratio")
            ->type_name("N"));
  group(app.add_option("--seed", o.seed, "default: 42")->type_name("N"));
  group(app.add_flag("!--no-dropout", o.dropout, "drop nothing, whatever config.json says"));
  group(app.add_flag("--freeze-words", o.freeze_words, "the word table stays"));
  group(app.add_flag(both("fix_position_embedding") + "{true}", o.fix_position_embedding,
                     "the position table stays"));
  group(app.add_option("--freeze-layers", o.freeze_layers,
                       "embeddings and N layers from the bottom stay")
            ->type_name("N"));
}

void add_safety_options(CLI::App& app, TrainOptions& o, Options& options) {
  const auto group = [](CLI::Option* option) { option->group("Memory and safety"); };
  group(app.add_option(both("gradient_checkpointing"), o.gradient_checkpointing,
                       "compute again in backward: attention, or every Nth layer's inside (1)")
            ->type_name("none|attention|N")
            ->expected(0, 1)
            ->default_str("1"));
  group(add_count(app, both("sub_batch_tokens"), o.sub_batch_tokens, 0,
                  "through the model at a time"));
  group(app.add_option("--memory-limit", options.memory_limit, "choose the two for at most SIZE")
            ->type_name("SIZE"));
  group(app.add_option(both("save_steps"), o.save_steps,
                       "a checkpoint after so many; 0: none (default: 500)")
            ->type_name("N"));
  group(add_count(app, both("save_total_limit"), o.save_total_limit, 1,
                  "checkpoints to keep (default: 2)"));
  group(app.add_flag(both("resume_from_checkpoint") + "{true}", o.resume,
                     "go on from the newest one"));
  group(app.add_flag(both("overwrite_output_dir") + "{true}", o.overwrite_output_dir,
                     "write over what is there"));
  group(app.add_flag("--skip-not-finite", o.skip_not_finite,
                     "leave out steps whose loss is not finite"));
  group(app.add_option(both("logging_steps"), o.logging_steps, "a line after so many (default: 10)")
            ->type_name("N"));
  app.add_option("--threads", options.threads, "that compute (default: the cores)")
      ->type_name("N")
      ->group("Device");
  app.add_option("--device", options.device, "default: cpu")->type_name("NAME")->group("Device");
  app.add_option("--isa", options.isa, "instruction set of the cpu")
      ->type_name("NAME")
      ->group("Device");
}

void add_embedder_options(CLI::App& app, TrainOptions& o) {
  const auto group = [](CLI::Option* option) { option->group("Embedders"); };
  group(app.add_option("--temperature", o.temperature, "default: 0.02")->type_name("NUMBER"));
  group(add_choice(app, both("sentence_pooling_method"), o.sentence_pooling_method,
                   {"cls", "mean", "last_token"}, "default: the model's own"));
  group(app.add_option(both("normalize_embeddings"), o.normalize_embeddings, "default: true")
            ->type_name("BOOL"));
  group(add_choice(app, both("kd_loss_type"), o.kd_loss_type, {"kl_div", "m3_kd_loss"},
                   "default: kl_div"));
  group(
      app.add_option(both("mrl_dims"), o.mrl_dims, "Matryoshka: the loss of these first dimensions")
          ->type_name("N"));
  group(app.add_flag(both("no_in_batch_neg") + "{true}", o.no_in_batch_neg,
                     "a query's own negatives alone"));
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
  add_data_options(*app, options->train, *options);
  add_run_options(*app, options->train, *options);
  if (task == TrainTask::kEmbedder) add_embedder_options(*app, options->train);
  add_safety_options(*app, options->train, *options);
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
  return {app, [app, reranker, embedder](auto) {
            return run(app->got_subcommand("reranker") ? *reranker : *embedder);
          }};
}

}  // namespace tamis::cli
