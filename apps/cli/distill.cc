// `tamis distill`: a teacher's scores for training data
// [FlagEmbedding/scripts/add_reranker_score.py].

#include <fmt/format.h>

#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "io/json_writer.h"
#include "lines.h"
#include "options.h"
#include "progress.h"
#include "tamis/reranker.h"
#include "training_lines.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Example:
  tamis distill --model bge-reranker-v2-m3 data.jsonl scored.jsonl
  tamis train embedder --knowledge_distillation --train_data scored.jsonl ...

Each line of OUT is the line of IN with pos_scores and neg_scores: the model's logits. Memory is constant. A run that
was ended goes on with --resume.)";

constexpr size_t kLinesAtOnce = 64;

struct Options {
  ModelOptions model;
  OutputOptions output;
  std::string in, out;
  size_t max_length = 512;
  bool normalize = false, resume = false;
};

std::string numbers(std::span<const double> scores) {
  std::string out;
  io::JsonWriter json(out);
  json.begin_array();
  for (double score : scores) json.number(static_cast<float>(score));
  json.end_array();
  return out;
}

/// Scores of all passages of some lines, in shared batches.
std::string score(const std::vector<TrainingLine>& lines, const Reranker& reranker,
                  const Options& options) {
  std::vector<RerankRequest> requests;
  for (const TrainingLine& line : lines) {
    RerankRequest request{line.query, {line.positives.begin(), line.positives.end()}};
    request.passages.insert(request.passages.end(), line.negatives.begin(), line.negatives.end());
    requests.push_back(std::move(request));
  }
  RerankOptions how;
  how.max_length = options.max_length;
  const auto results = reranker.rerank(requests, how);
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::vector<double> scores(results[i].size());
    for (const RerankResult& r : results[i]) {
      scores[r.index] = options.normalize ? r.score : static_cast<double>(r.logit);
    }
    const std::span<const double> all(scores);
    const size_t positives = lines[i].positives.size();
    out += with_fields(lines[i], {{"pos_scores", numbers(all.first(positives))},
                                  {"neg_scores", numbers(all.subspan(positives))}});
  }
  return out;
}

int run(const Options& options) {
  const Notices notices = options.output.notices();
  LineReader reader = LineReader::open(plain(options.in));
  GrowingFile file(plain(options.out), options.resume);
  if (file.lines() > 0) notices.say(fmt::format("going on behind {} lines", grouped(file.lines())));
  ModelOptions model = options.model;
  const Reranker reranker = Reranker::load(find_model(plain(model.directory), kDefaultReranker),
                                           load_options(model, 0, notices));
  Progress progress(!options.output.quiet && !options.output.no_progress, "lines");
  std::vector<TrainingLine> lines;
  size_t read = 0, done = file.lines();
  const auto flush = [&] {
    if (lines.empty()) return;
    progress.begin_window(reader.fraction());
    file.add(score(lines, reranker, options));
    done += lines.size();
    progress.end_window(lines.size());
    lines.clear();
  };
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    if (++read <= file.lines()) continue;
    lines.push_back(parse_training_line(*line, reader.where(), true));
    if (lines.size() == kLinesAtOnce) flush();
  }
  flush();
  progress.clear();
  notices.say(fmt::format("{}: {} lines", plain(options.out), grouped(done)));
  return 0;
}

}  // namespace

Command add_distill(CLI::App& root) {
  CLI::App* app = root.add_subcommand("distill", "Add a reranker's scores to training data");
  auto o = std::make_shared<Options>();
  app->add_option("in", o->in, "training data")->type_name("IN")->option_text("IN")->required();
  app->add_option("out", o->out, "file to make")->type_name("OUT")->option_text("OUT")->required();
  add_model_option(*app, o->model);
  add_count(*app, "--max-length", o->max_length, 1, "tokens of a pair (default: 512)")
      ->group("Scoring");
  app->add_flag("--normalize", o->normalize, "sigmoids instead of logits")->group("Scoring");
  app->add_flag("--resume", o->resume, "go on with an OUT that is not complete")->group("Output");
  add_place_options(*app, o->model.place);
  app->add_flag("-q,--quiet", o->output.quiet, "no notices and no progress bar")->group("Output");
  add_progress_option(*app, o->output);
  app->footer(kFooter);
  return {app, [o](auto) { return run(*o); }};
}

}  // namespace tamis::cli
