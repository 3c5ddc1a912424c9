// tamis rerank

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "options.h"
#include "rerank_job.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis rerank "what is a panda?" "hi" "The giant panda is a bear of China."
  tamis rerank --query "what is a panda?" --passages-file passages.txt --top-n 3
  grep -h bear notes/*.txt | tamis rerank "what is a panda?"
  tamis rerank --input requests.jsonl --format jsonl > results.jsonl
  tamis rerank --device cpu,cpu --dtype bf16 --memory-limit 2GB -i requests.jsonl

Input of --input is one request a line: {"query": "...", "passages": ["...", "..."]}. The results of
each come in the order of the requests, sorted by logit, a line each (--format jsonl, the default):
{"results": [{"index", "logit", "score", "tokens", "truncated"}, ...]}.
Lines are read until there is work enough for full batches, or until no more input is waiting. Empty
lines are passed over. A bad line ends the run after all earlier results, unless --keep-going is
given.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  InputOptions input;
  BenchmarkOptions benchmark;
  std::vector<std::string> texts;  // [query] passage...
  std::string query;
  std::string passages_file;
  RerankOptions rerank;
  bool sigmoid = false;
  CLI::Option* query_given = nullptr;
  CLI::Option* max_length_given = nullptr;
};

void refuse_mixed_input(const Options& options) {
  const bool other =
      !options.texts.empty() || options.query_given->count() > 0 || !options.passages_file.empty();
  if (!other) return;
  throw UsageError("--input brings its own queries and passages",
                   "leave out the other texts, or --input");
}

std::vector<std::string> read_lines(const std::string& path) {
  LineReader reader = LineReader::open(path);
  std::vector<std::string> out;
  while (const auto line = reader.next()) out.emplace_back(*line);
  if (out.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: no passages: the input is empty", reader.name()));
  }
  return out;
}

// The query and the passages of the plain form, from wherever they come.
RerankLine read_request(const Options& options, std::string& source) {
  RerankLine out;
  size_t first_passage = 0;
  if (options.query_given->count() > 0) {
    out.query = plain(options.query);
  } else if (!options.texts.empty()) {
    out.query = plain(options.texts[first_passage++]);
  } else {
    throw UsageError("no query given",
                     "tamis rerank QUERY PASSAGE..., or see 'tamis rerank --help'");
  }
  for (size_t i = first_passage; i < options.texts.size(); ++i) {
    out.passages.push_back(plain(options.texts[i]));
  }
  source = "the arguments";
  if (!options.passages_file.empty()) {
    if (!out.passages.empty()) {
      throw UsageError("passages are given as arguments and by --passages-file",
                       "give one of them");
    }
    source = plain(options.passages_file);
    out.passages = read_lines(source);
  } else if (out.passages.empty()) {
    if (::isatty(STDIN_FILENO) == 1) {
      throw UsageError("no passages given",
                       "give them as arguments, by --passages-file, or on standard input");
    }
    out.passages = read_lines("-");
    source = "standard input";
  }
  return out;
}

class Rerank {
 public:
  Rerank(const Options& options, RunMeter::Clock::time_point process_start)
      : options_(options),
        notices_(options.output.notices()),
        meter_(process_start, options.benchmark, "pairs") {}

  int run() {
    const bool lines = !options_.input.path.empty();
    if (lines) refuse_mixed_input(options_);
    Output output = Output::open(plain(options_.output.path));
    return lines ? run_lines(output) : run_one(output);
  }

 private:
  Reranker load() {
    const auto directory = find_model(plain(options_.model.directory), kDefaultReranker);
    const LoadOptions load = load_options(options_.model, options_.rerank.batch_tokens, notices_);
    auto out = meter_.load([&] { return Reranker::load(directory, load); });
    settle(out.place(), options_.model.place, notices_);
    // The default may be more than a small model has; only a wish is worth a notice.
    if (options_.max_length_given->count() > 0) {
      const size_t asked = options_.rerank.max_length;
      say_if_clamped(notices_, asked, out.effective_max_length(asked));
    }
    return out;
  }

  RerankLook look(const Output& output, Format format) const {
    return {.format = format,
            .sigmoid = options_.sigmoid,
            .show_query = !options_.input.path.empty(),
            .columns = output.is_terminal() ? terminal_columns(output.descriptor()) : 0,
            .bold = may_decorate(output.descriptor())};
  }

  Progress progress() const {
    const auto& output = options_.output;
    return Progress(!output.quiet && !output.no_progress && options_.benchmark.repeat == 0,
                    "pairs");
  }

  int run_one(Output& output) {
    std::string source;
    const std::vector<RerankLine> request = {read_request(options_, source)};
    const Reranker reranker = load();
    const Format format = format_of(options_.output.format);
    Progress bar = progress();
    RerankJob job(reranker, options_.rerank, look(output, format), meter_, bar, [] { return 1.0; });
    const auto results = job.run(request);
    bar.clear();
    write_one(output.buffer(), job, request[0], results[0], format);
    output.finish();
    meter_.result_written();
    notices_.say_replaced(job.utf8_replacements(), source);
    meter_.report();
    return 0;
  }

  // One request has one answer: no list around it.
  static void write_one(std::string& out, RerankJob& job, const RerankLine& request,
                        const std::vector<RerankResult>& results, Format format) {
    const bool indented = format == Format::kJson;
    job.write(out, request, results, indented ? JsonLayout::kIndented : JsonLayout::kLine);
    if (format != Format::kTable) out += '\n';
  }

  int run_lines(Output& output) {
    LineReader reader = LineReader::open(plain(options_.input.path));
    const Reranker reranker = load();
    // A stream of requests is for programs; people who want tables say so.
    const Format format = format_given_ ? format_of(options_.output.format) : Format::kJsonLines;
    const LineOptions how = {format, options_.input.keep_going, options_.benchmark.repeat > 0};
    Progress bar = progress();
    RerankJob job(reranker, options_.rerank, look(output, format), meter_, bar,
                  [&] { return reader.fraction(); });
    LineLoop loop(reader, output, how, job);
    const int status = loop.run();
    bar.clear();
    output.finish();
    notices_.say_replaced(job.utf8_replacements(), reader.name());
    say_failed_lines(loop.errors(), reader.name());
    meter_.report();
    return status;
  }

  const Options& options_;
  const Notices notices_;
  RunMeter meter_;
  bool format_given_ = options_.output.format_option->count() > 0;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("texts", options.texts, "the query, then the passages; after -- also with a dash")
      ->type_name("")
      ->option_text("[QUERY] PASSAGE...");
  options.query_given =
      app.add_option("--query", options.query, "the query; all arguments are passages then")
          ->type_name("TEXT")
          ->group("Input");
  app.add_option("-p,--passages-file", options.passages_file,
                 "passages, one a line; - is standard input")
      ->type_name("FILE")
      ->group("Input");
  add_input_option(app, options.input, "requests, one JSON object a line; - is standard input");
  add_count(app, "-n,--top-n", options.rerank.top_n, 1, "only the N best (default: all)")
      ->group("Scoring");
  options.max_length_given = add_count(app, "--max-length", options.rerank.max_length, 1,
                                       "tokens of a pair; longer ones are cut (default: 512)")
                                 ->group("Scoring");
  add_count(app, "--batch-tokens", options.rerank.batch_tokens, 1,
            "tokens that go through the model at once")
      ->group("Scoring");
  app.add_flag("--sigmoid", options.sigmoid, "show scores from 0 to 1 in the table, not logits")
      ->group("Scoring");
  add_model_option(app, options.model);
  add_place_options(app, options.model.place);
  add_run_options(app, options.model.place);
  add_output_options(app, options.output, {"table", "json", "jsonl"});
  add_progress_option(app, options.output);
  add_benchmark_options(app, options.benchmark);
  app.footer(kFooter);
}

}  // namespace

Command add_rerank(CLI::App& root) {
  CLI::App* app = root.add_subcommand("rerank", "Sort passages by how well they answer a query");
  auto options = std::make_shared<Options>();
  add_options(*app, *options);
  return {app, [options](auto start) { return Rerank(*options, start).run(); }};
}

}  // namespace tamis::cli
