// tamis embed

#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "npy.h"
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

  tamis embed --sparse --colbert -m bge-m3 "BGE-M3 gives three outputs from one pass"
  tamis embed --instruction "query: " --input queries.jsonl --format npy -o queries.npy

Input is one text a line: {"text": "..."}; the answer to each is {"embedding": [...]}, in the same
order, with --sparse and --colbert also {"sparse": {"<token id>": weight, ...}, "colbert": [[...],
...]}. --format npy writes one float matrix, a row a text, for NumPy, FAISS and hnswlib.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  InputOptions input;
  BenchmarkOptions benchmark;
  std::vector<std::string> texts;
  EmbedOptions embed;
  std::string instruction;
  std::string instruction_format = "{}{}";
  std::string normalize;
  std::string number = "f32";
  bool no_dense = false;

  bool npy() const { return output.format == "npy"; }
};

/// The text with its instruction, as FlagEmbedding joins them: in the format, \n is a line break
/// and the two {} are the instruction and the text.
std::string with_instruction(const Options& options, std::string text) {
  if (options.instruction.empty()) return text;
  std::string out;
  const std::string form = plain(options.instruction_format);
  int next = 0;
  for (size_t i = 0; i < form.size(); ++i) {
    const std::string_view here = std::string_view(form).substr(i, 2);
    if (here == "\\n") {
      out += '\n';
    } else if (here == "{}") {
      out += next++ == 0 ? plain(options.instruction) : text;
    } else {
      out += form[i];
      continue;
    }
    ++i;
  }
  return out;
}

/// Errors: UsageError.
void check(Options& options) {
  if (!options.normalize.empty()) options.embed.normalize = options.normalize == "yes";
  options.embed.dense = !options.no_dense;
  size_t places = 0;
  for (size_t at = 0; (at = options.instruction_format.find("{}", at)) != std::string::npos;
       at += 2)
    ++places;
  if (places != 2) {
    throw UsageError("--instruction-format needs {} twice, for the instruction and the text",
                     "for instance 'Instruct: {}\\nQuery: {}'");
  }
  if (options.npy() && (options.embed.sparse || options.embed.colbert || options.no_dense)) {
    throw UsageError("--format npy holds one vector of each text",
                     "take --format jsonl for --sparse and --colbert");
  }
  if (options.npy() && options.input.keep_going) {
    throw UsageError("--format npy has no place for a bad line", "leave out --keep-going");
  }
  if (options.number != "f32" && !options.npy()) {
    throw UsageError("--number is for --format npy", "JSON has numbers of one kind");
  }
}

class EmbedJob : public LineJob<TextLine, EmbeddedText> {
 public:
  EmbedJob(const Embedder& embedder, const Options& options, RunMeter& meter, Progress& progress,
           const LineReader* reader, NpyWriter* npy)
      : embedder_(embedder),
        command_(options),
        options_(options.embed),
        npy_(npy),
        meter_(meter),
        progress_(progress),
        reader_(reader) {
    options_.progress = [this](size_t done, size_t total) { progress_.update(done, total); };
  }

  TextLine parse(std::string_view line, const std::string& where) override {
    return parse_text_line(line, where, /*pairs_allowed=*/false, line_replacements_);
  }

  std::vector<EmbeddedText> run(std::span<const TextLine> items) override {
    std::vector<std::string> whole;
    for (const TextLine& item : items) whole.push_back(with_instruction(command_, item.text));
    const std::vector<std::string_view> texts(whole.begin(), whole.end());
    progress_.begin_window(reader_ ? reader_->fraction() : 1);
    const Embeddings embeddings =
        meter_.measure([&](RunStats* stats) { return embedder_.embed(texts, options_, stats); });
    progress_.end_window(items.size());
    std::vector<EmbeddedText> out(embeddings.count);
    for (size_t i = 0; i < embeddings.count; ++i) {
      if (options_.dense) out[i].dense.assign(embeddings.row(i).begin(), embeddings.row(i).end());
      if (options_.sparse) out[i].sparse = embeddings.sparse[i];
      if (!options_.colbert) continue;
      const TokenVectorsView vectors = embeddings.colbert(i);
      out[i].colbert.assign(vectors.values.begin(), vectors.values.end());
      out[i].colbert_dimension = vectors.dimension;
    }
    return out;
  }

  void write(std::string& out, const TextLine&, const EmbeddedText& result,
             JsonLayout layout) override {
    if (npy_ != nullptr) {
      npy_->append(out, result.dense);
    } else {
      write_embedding(out, result, options_, layout);
    }
  }
  void before_output() override { progress_.clear(); }
  void after_output() override { meter_.result_written(); }

  size_t utf8_replacements() const { return line_replacements_ + meter_.stats().utf8_replacements; }

 private:
  const Embedder& embedder_;
  const Options& command_;
  EmbedOptions options_;
  NpyWriter* npy_;
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
    std::optional<NpyWriter> npy;
    if (options_.npy()) npy.emplace(output, options_.number == "f16");
    EmbedJob job(embedder, options_, meter_, bar, reader ? &*reader : nullptr,
                 npy ? &*npy : nullptr);
    const int status = reader ? run_lines(*reader, output, job, npy ? &*npy : nullptr)
                              : run_texts(output, job, npy ? &*npy : nullptr);
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

  int run_texts(Output& output, EmbedJob& job, NpyWriter* npy) {
    const std::vector<TextLine> texts = text_lines(options_.texts);
    const std::vector<EmbeddedText> embeddings = job.run(texts);
    job.before_output();
    if (npy != nullptr) {
      for (const EmbeddedText& e : embeddings) npy->append(output.buffer(), e.dense);
      npy->finish();
    } else {
      write_items(output.buffer(), job, texts, embeddings, format_of(options_.output.format));
    }
    output.finish();
    job.after_output();
    return 0;
  }

  int run_lines(LineReader& reader, Output& output, EmbedJob& job, NpyWriter* npy) {
    const LineOptions how = {format_of(options_.output.format), options_.input.keep_going,
                             options_.benchmark.repeat > 0};
    LineLoop loop(reader, output, how, job);
    const int status = loop.run();
    job.before_output();
    if (npy != nullptr) npy->finish();
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
  add_choice(app, "--pooling", options.model.pooling, {"cls", "mean", "last", "splade"},
             "how token vectors become one (default: what the model says)")
      ->group("Embedding");
  add_count(app, "--max-length", options.embed.max_length, 1,
            "tokens of a text; longer ones are cut (default: the model's)")
      ->group("Embedding");
  add_count(app, "--batch-tokens", options.embed.batch_tokens, 1,
            "tokens that go through the model at once")
      ->group("Embedding");
  add_count(app, "--dimension", options.embed.dimension, 1,
            "numbers that vectors are cut to, before they are normalised")
      ->group("Embedding");
  add_choice(app, "--normalize", options.normalize, {"yes", "no"},
             "vectors to length 1 (default: what the model says)")
      ->group("Embedding");
  app.add_option("--instruction", options.instruction, "stands before each text")
      ->type_name("TEXT")
      ->group("Embedding");
  app.add_option("--instruction-format", options.instruction_format,
                 "how the two are joined (default: {}{})")
      ->type_name("FORMAT")
      ->group("Embedding");
  app.add_flag("--sparse", options.embed.sparse, "BGE-M3's lexical weights as well")
      ->group("Embedding");
  app.add_flag("--colbert", options.embed.colbert, "BGE-M3's vector of each token as well")
      ->group("Embedding");
  app.add_flag("--no-dense", options.no_dense, "leave out the vector of the text")
      ->group("Embedding");
  add_choice(app, "--number", options.number, {"f32", "f16"}, "in npy (default: f32)")
      ->group("Output");
  add_model_option(app, options.model);
  add_place_options(app, options.model.place);
  add_run_options(app, options.model.place);
  add_output_options(app, options.output, {"jsonl", "json", "npy"});
  add_progress_option(app, options.output);
  add_benchmark_options(app, options.benchmark);
  app.footer(kFooter);
}

}  // namespace

Command add_embed(CLI::App& root) {
  CLI::App* app = root.add_subcommand("embed", "Turn texts into vectors");
  auto options = std::make_shared<Options>();
  add_options(*app, *options);
  return {app, [options](auto start) {
            check(*options);
            return Embed(*options, start).run();
          }};
}

}  // namespace tamis::cli
