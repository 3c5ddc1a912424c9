// tamis embed

#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "options.h"
#include "progress.h"
#include "run_meter.h"
#include "tamis/embedder.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis embed "query: what is a panda?" "passage: The giant panda is a bear of China."
  tamis embed --input texts.jsonl > embeddings.jsonl
  tamis embed --pooling mean --max-length 256 --input - < texts.jsonl
  tamis embed --device auto --sim memory=4GB,gflops=200 --warmup -i texts.jsonl

Input is one text a line: {"text": "..."}; the answer to each is {"embedding": [...]}, in the same
order.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  InputOptions input;
  BenchmarkOptions benchmark;
  std::vector<std::string> texts;
  EmbedOptions embed;
};

class EmbedJob : public LineJob<TextLine, std::vector<float>> {
 public:
  EmbedJob(const Embedder& embedder, const EmbedOptions& options, RunMeter& meter,
           Progress& progress, const LineReader* reader)
      : embedder_(embedder),
        options_(options),
        meter_(meter),
        progress_(progress),
        reader_(reader) {
    options_.progress = [this](size_t done, size_t total) { progress_.update(done, total); };
  }

  TextLine parse(std::string_view line, const std::string& where) override {
    return parse_text_line(line, where, /*pairs_allowed=*/false, line_replacements_);
  }

  std::vector<std::vector<float>> run(std::span<const TextLine> items) override {
    std::vector<std::string_view> texts;
    for (const TextLine& item : items) texts.push_back(item.text);
    progress_.begin_window(reader_ ? reader_->fraction() : 1);
    const Embeddings embeddings =
        meter_.measure([&](RunStats* stats) { return embedder_.embed(texts, options_, stats); });
    progress_.end_window(items.size());
    std::vector<std::vector<float>> out;
    for (size_t i = 0; i < embeddings.count; ++i) {
      out.emplace_back(embeddings.row(i).begin(), embeddings.row(i).end());
    }
    return out;
  }

  void write(std::string& out, const TextLine&, const std::vector<float>& result,
             JsonLayout layout) override {
    write_embedding(out, result, layout);
  }
  void before_output() override { progress_.clear(); }
  void after_output() override { meter_.result_written(); }

  size_t utf8_replacements() const { return line_replacements_ + meter_.stats().utf8_replacements; }

 private:
  const Embedder& embedder_;
  EmbedOptions options_;
  RunMeter& meter_;
  Progress& progress_;
  const LineReader* reader_;
  size_t line_replacements_ = 0;
};

class Embed {
 public:
  Embed(const Options& options, RunMeter::Clock::time_point process_start)
      : options_(options),
        notices_(options.output.notices()),
        meter_(process_start, options.benchmark, "texts") {}

  int run() {
    const std::string input = lines_input(options_.texts, options_.input);
    Output output = Output::open(plain(options_.output.path));
    std::optional<LineReader> reader;
    if (!input.empty()) reader.emplace(LineReader::open(input));
    const Embedder embedder = load();
    Progress bar(
        !options_.output.quiet && !options_.output.no_progress && options_.benchmark.repeat == 0,
        "texts");
    EmbedJob job(embedder, options_.embed, meter_, bar, reader ? &*reader : nullptr);
    const int status = reader ? run_lines(*reader, output, job) : run_texts(output, job);
    notices_.say_replaced(job.utf8_replacements(), reader ? reader->name() : "the arguments");
    meter_.report();
    return status;
  }

 private:
  Embedder load() {
    const auto directory = find_model(plain(options_.model.directory), kDefaultEmbedder);
    const LoadOptions load = load_options(options_.model, options_.embed.batch_tokens, notices_);
    auto out = meter_.load([&] { return Embedder::load(directory, load); });
    settle(out.place(), options_.model.place, notices_);
    if (out.info().kind != ModelKind::kEmbedder) {
      throw HintedError(ErrorCode::kInvalidArgument,
                        directory.string() + ": a cross-encoder scores pairs and has no embeddings",
                        "use it with 'tamis rerank', or give the model of an embedder");
    }
    if (const size_t asked = options_.embed.max_length; asked > 0) {
      say_if_clamped(notices_, asked, out.effective_max_length(asked));
    }
    return out;
  }

  int run_texts(Output& output, EmbedJob& job) {
    const std::vector<TextLine> texts = text_lines(options_.texts);
    const auto embeddings = job.run(texts);
    job.before_output();
    write_items(output.buffer(), job, texts, embeddings, format_of(options_.output.format));
    output.finish();
    job.after_output();
    return 0;
  }

  int run_lines(LineReader& reader, Output& output, EmbedJob& job) {
    const LineOptions how = {format_of(options_.output.format), options_.input.keep_going,
                             options_.benchmark.repeat > 0};
    LineLoop loop(reader, output, how, job);
    const int status = loop.run();
    job.before_output();
    output.finish();
    say_failed_lines(loop.errors(), reader.name());
    return status;
  }

  const Options& options_;
  const Notices notices_;
  RunMeter meter_;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("texts", options.texts, "texts; after -- also with a dash")
      ->type_name("")
      ->option_text("TEXT...");
  add_input_option(app, options.input, "texts, one JSON object a line; - is standard input");
  add_choice(app, "--pooling", options.model.pooling, {"cls", "mean", "last"},
             "how token vectors become one (default: what the model says)")
      ->group("Embedding");
  add_count(app, "--max-length", options.embed.max_length, 1,
            "tokens of a text; longer ones are cut (default: the model's)")
      ->group("Embedding");
  add_count(app, "--batch-tokens", options.embed.batch_tokens, 1,
            "tokens that go through the model at once")
      ->group("Embedding");
  add_model_option(app, options.model);
  add_place_options(app, options.model.place);
  add_run_options(app, options.model.place);
  add_output_options(app, options.output, {"jsonl", "json"});
  add_progress_option(app, options.output);
  add_benchmark_options(app, options.benchmark);
  app.footer(kFooter);
}

}  // namespace

Command add_embed(CLI::App& root) {
  CLI::App* app = root.add_subcommand("embed", "Turn texts into vectors");
  auto options = std::make_shared<Options>();
  add_options(*app, *options);
  return {app, [options](auto start) { return Embed(*options, start).run(); }};
}

}  // namespace tamis::cli
