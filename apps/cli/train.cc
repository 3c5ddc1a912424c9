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

#include "base/byte_size.h"
#include "commands.h"
#include "default_model.h"
#include "output.h"
#include "progress.h"
#include "ranks.h"
#include "tamis/place.h"
#include "train_options.h"

namespace tamis::cli {
namespace {

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
    const auto number = [](double x) {  // JSON has none that is not finite
      return std::isfinite(x) ? fmt::format("{:.6g}", x) : std::string("null");
    };
    out += fmt::format(
        R"({{"step":{},"epoch":{:.4f},"loss":{},"grad_norm":{},"learning_rate":{:.6g},"tokens":{},"seconds":{:.4f}{}}})",
        s.step, s.epoch, number(s.loss), number(s.gradient_norm), s.learning_rate, s.tokens,
        s.seconds, s.skipped ? ",\"skipped\":true" : "");
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

/// Of the places that transformers reports to one is there; others are told, not refused.
void take_reports(TrainArguments& options, const Notices& notices) {
  for (const std::string& word : options.report_to) {
    const std::string name = plain(word);
    if (name == "tensorboard" || name == "all") {
      options.train.report_to = "tensorboard";
    } else if (name != "none") {
      options.ignored.push_back("report_to " + name);
    }
  }
  options.train.logging_dir = plain(options.logging_dir);
  if (!options.logging_dir.empty() && options.train.report_to == "none") {
    notices.say("--logging_dir is where --report_to tensorboard writes, which was not asked for");
  }
}

int run(TrainArguments options) {
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
  if (options.save_strategy == "no") how.save_steps = 0;
  if (!options.use_mrl) how.mrl_dims.clear();
  how.ranks = ranks_of_environment();
  how.device = device_of_environment(options.device);
  DevicesOptions devices;
  devices.cuda_plugin = plain(options.cuda_plugin);
  devices.cuda_options = options.cuda;
  how.devices = std::make_shared<Devices>(devices);
  how.isa = options.isa;
  how.threads = static_cast<int>(options.threads);
  how.log = notices.sink();
  take_reports(options, notices);
  say_ignored(notices, options.ignored);
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
  if (how.ranks.rank > 0) return report.stopped ? 130 : 0;  // rank 0 tells how it went
  if (report.stopped) {
    notices.say("stopped; go on with --resume_from_checkpoint");
    return 130;
  }
  if (report.losses.size() > 1) notices.say("loss " + curve_of(report.losses));
  notices.say(fmt::format("{:.1f} s, {} tokens, loss {:.4f}", report.seconds,
                          grouped(report.tokens), report.final_loss));
  return 0;
}

}  // namespace

Command add_train(CLI::App& root) {
  CLI::App* app = root.add_subcommand("train", "Fine-tune a reranker or an embedder");
  app->require_subcommand(1);
  app->footer(kTrainFooter);
  const auto reranker = add_train_task(*app, "reranker", TrainTask::kReranker,
                                       "A cross-encoder, by groups of passages");
  const auto embedder =
      add_train_task(*app, "embedder", TrainTask::kEmbedder, "Vectors, by contrast");
  const auto m3 = add_train_task(*app, "m3", TrainTask::kM3, "BGE-M3's three outputs, by contrast");
  return {app, [app, reranker, embedder, m3](auto) {
            return run(app->got_subcommand("reranker")   ? *reranker
                       : app->got_subcommand("embedder") ? *embedder
                                                         : *m3);
          }};
}

}  // namespace tamis::cli
