// `tamis mine`: hard negatives [FlagEmbedding/scripts/hn_mine.py], with filters that it has not.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "io/json_writer.h"
#include "lines.h"
#include "nearest.h"
#include "options.h"
#include "progress.h"
#include "sampling.h"
#include "tamis/embedder.h"
#include "training_lines.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis mine --model bge-m3 data.jsonl mined.jsonl
  tamis mine --model bge-m3 --candidate_pool corpus.jsonl --range_for_sampling 10-210 --margin 0.05 data.jsonl mined.jsonl

Takes for each query the passages of the pool that are most like it, between the two ranks, leaves out its positive
ones and itself, and draws --negative_number of them as its new "neg"; random passages fill up. --margin leaves out
those that come nearer than the best positive less so much: they may be answers that nobody marked. The pool is
--candidate_pool ({"text": ...} a line), or all passages of the data.)";

constexpr size_t kQueriesAtOnce = 256;

struct Options {
  ModelOptions model;
  OutputOptions output;
  std::string in, out, pool, instruction, range = "10-210";
  size_t negatives = 15, max_length = 512;
  std::optional<double> margin, max_score;
  uint64_t seed = 42;
  bool resume = false;
};

/// Passages by number, each once.
class Pool {
 public:
  void add(const std::string& text) {
    if (numbers_.emplace(text, texts_.size()).second) texts_.push_back(text);
  }
  size_t size() const { return texts_.size(); }
  const std::string& text(size_t i) const { return texts_[i]; }
  const std::vector<std::string>& texts() const { return texts_; }
  std::optional<size_t> find(const std::string& text) const {
    const auto found = numbers_.find(text);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::vector<std::string> texts_;
  std::unordered_map<std::string, size_t> numbers_;
};

Pool read_pool(const Options& options) {
  Pool out;
  LineReader reader = LineReader::open(plain(options.pool.empty() ? options.in : options.pool));
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    if (!options.pool.empty()) {
      const auto document = io::JsonDocument::parse(*line, reader.where());
      out.add(std::string(document.root().at("text").string("text")));
      continue;
    }
    const TrainingLine data = parse_training_line(*line, reader.where(), false);
    for (const auto* texts : {&data.positives, &data.negatives}) {
      for (const std::string& text : *texts) out.add(text);
    }
  }
  return out;
}

std::vector<std::string_view> views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

/// Negatives of one query, hard ones first.
std::vector<std::string> negatives_of(const TrainingLine& line, size_t number,
                                      std::span<const float> query, const Pool& pool,
                                      const Embeddings& passages, const RankRange& ranks,
                                      const Options& options) {
  const std::vector<double> scores = similarities(query, passages);
  const std::set<std::string> positives(line.positives.begin(), line.positives.end());
  std::optional<double> best_positive;
  for (const std::string& text : line.positives) {
    const auto i = pool.find(text);
    if (i) best_positive = std::max(best_positive.value_or(scores[*i]), scores[*i]);
  }
  const std::vector<size_t> ranked = best_of(scores, ranks.end);
  std::vector<size_t> hard;
  for (size_t rank = std::min(ranks.begin, ranked.size()); rank < ranked.size(); ++rank) {
    const size_t i = ranked[rank];
    if (positives.contains(pool.text(i)) || pool.text(i) == line.query) continue;
    if (options.margin && best_positive && scores[i] > *best_positive - *options.margin) continue;
    if (options.max_score && scores[i] > *options.max_score) continue;
    hard.push_back(i);
  }
  RandomDraw random(options.seed, number);
  random.shuffle(hard);
  if (hard.size() > options.negatives) hard.resize(options.negatives);
  std::set<size_t> taken(hard.begin(), hard.end());
  for (size_t tries = 0; hard.size() < options.negatives && tries < 20 * options.negatives;
       ++tries) {
    const size_t i = random.below(pool.size());
    if (positives.contains(pool.text(i)) || pool.text(i) == line.query || !taken.insert(i).second)
      continue;
    hard.push_back(i);
  }
  std::vector<std::string> out;
  for (size_t i : hard) out.push_back(pool.text(i));
  return out;
}

int run(const Options& options) {
  const RankRange ranks = parse_rank_range(plain(options.range));
  if (options.in == "-" && options.pool.empty()) {
    throw UsageError(
        "IN: without --candidate_pool it is read twice, which standard input cannot be",
        "give a file, or the pool");
  }
  const Notices notices = options.output.notices();
  const Pool pool = read_pool(options);
  if (pool.size() == 0) throw Error(ErrorCode::kDataLoss, "the pool has no passages");
  LineReader reader = LineReader::open(plain(options.in));
  GrowingFile file(plain(options.out), options.resume);
  const Embedder embedder =
      Embedder::load(find_model(plain(options.model.directory), kDefaultEmbedder),
                     load_options(options.model, 0, notices));
  Progress progress(!options.output.quiet && !options.output.no_progress, "texts");
  EmbedOptions how;
  how.max_length = options.max_length;
  how.progress = [&](size_t done, size_t total) { progress.update(done, total); };
  progress.begin_window(1.0);
  const Embeddings passages = embedder.embed(views(pool.texts()), how);
  progress.end_window(pool.size());
  progress.clear();
  how.progress = {};

  std::vector<TrainingLine> lines;
  size_t read = 0, done = file.lines(), short_of = 0;
  const auto flush = [&] {
    if (lines.empty()) return;
    std::vector<std::string> queries;
    for (const TrainingLine& line : lines) queries.push_back(options.instruction + line.query);
    const Embeddings vectors = embedder.embed(views(queries), how);
    std::string text;
    for (size_t i = 0; i < lines.size(); ++i) {
      const auto found =
          negatives_of(lines[i], done + i, vectors.row(i), pool, passages, ranks, options);
      short_of += found.size() < options.negatives;
      std::string json;
      io::JsonWriter writer(json);
      writer.begin_array();
      for (const std::string& negative : found) writer.string(negative);
      writer.end_array();
      text += with_fields(lines[i], {{"neg", json}});
    }
    file.add(text);
    done += lines.size();
    lines.clear();
  };
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    if (++read <= file.lines()) continue;
    lines.push_back(parse_training_line(*line, reader.where(), false));
    if (lines.size() == kQueriesAtOnce) flush();
  }
  flush();
  notices.say(fmt::format(
      "{}: {} lines, negatives out of {} passages{}", plain(options.out), grouped(done),
      grouped(pool.size()),
      short_of > 0 ? fmt::format("; {} got less than {}", short_of, options.negatives) : ""));
  return 0;
}

}  // namespace

Command add_mine(CLI::App& root) {
  CLI::App* app = root.add_subcommand("mine", "Find hard negatives for training data");
  auto o = std::make_shared<Options>();
  app->add_option("in", o->in, "training data")->type_name("IN")->option_text("IN")->required();
  app->add_option("out", o->out, "file to make")->type_name("OUT")->option_text("OUT")->required();
  add_model_option(*app, o->model);
  const auto group = [](CLI::Option* option) { option->group("Mining"); };
  group(app->add_option("--candidate_pool,--candidate-pool", o->pool, "passages to search")
            ->type_name("FILE"));
  group(app->add_option("--range_for_sampling,--range-for-sampling", o->range,
                        "ranks to draw from (default: 10-210)")
            ->type_name("A-B"));
  group(add_count(*app, "--negative_number,--negative-number", o->negatives, 1,
                  "of each query (default: 15)"));
  group(app->add_option("--margin", o->margin, "below the best positive passage's score")
            ->type_name("NUMBER"));
  group(app->add_option("--max_score,--max-score", o->max_score, "of a negative passage")
            ->type_name("NUMBER"));
  group(app->add_option("--query_instruction_for_retrieval,--query-instruction", o->instruction,
                        "before each query")
            ->type_name("TEXT"));
  group(add_count(*app, "--max-length", o->max_length, 1, "tokens (default: 512)"));
  group(app->add_option("--seed", o->seed, "default: 42")->type_name("N"));
  app->add_flag("--resume", o->resume, "go on with an OUT that is not complete")->group("Output");
  add_place_options(*app, o->model.place);
  app->add_flag("-q,--quiet", o->output.quiet, "no notices and no progress bar")->group("Output");
  add_progress_option(*app, o->output);
  app->footer(kFooter);
  return {app, [o](auto) { return run(*o); }};
}

}  // namespace tamis::cli
