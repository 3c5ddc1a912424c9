// tamis index

#include <fmt/format.h>

#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "options.h"
#include "progress.h"
#include "tamis/embedder.h"
#include "tamis/index.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis index corpus.jsonl -o corpus.index -m bge-m3 --sparse
  tamis index corpus.jsonl -o corpus.index --prefix "passage: " --number f16
  tamis search corpus.index "what is a tamis?"

A passage a line: {"text": "..."}, perhaps with "id" and "title", which is put before the text. The
index is a directory: dense.npy and passages.jsonl are what FAISS or hnswlib need.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  std::string corpus;
  std::string number = "f32";
  bool sparse = false;
  bool no_dense = false;
  IndexOptions index;
};

// Text that is embedded together; some ten batches.
constexpr size_t kWindowBytes = 256 << 10;

class Index {
 public:
  explicit Index(const Options& options) : options_(options), notices_(options.output.notices()) {}

  int run() {
    const std::string out = plain(options_.output.path);
    if (out.empty() || out == "-") {
      throw UsageError("an index is a directory", "name one with --output");
    }
    LineReader reader = LineReader::open(plain(options_.corpus));
    const auto directory = find_model(plain(options_.model.directory), kDefaultEmbedder);
    const LoadOptions load =
        load_options(options_.model, options_.index.embed.batch_tokens, notices_);
    const Embedder embedder = Embedder::load(directory, load);
    IndexOptions index = options_.index;
    index.prefix = plain(index.prefix);
    index.half = options_.number == "f16";
    index.sparse = options_.sparse;
    index.dense = !options_.no_dense;
    Progress bar(!options_.output.quiet && !options_.output.no_progress, "passages");
    index.embed.progress = [&](size_t done, size_t total) { bar.update(done, total); };
    IndexWriter writer(out, embedder, index);
    const size_t count = add_all(reader, writer, bar);
    bar.clear();
    writer.finish();
    notices_.say_replaced(replaced_, reader.name());
    notices_.say(fmt::format("{}: {} passages", out, grouped(count)));
    return 0;
  }

 private:
  size_t add_all(LineReader& reader, IndexWriter& writer, Progress& bar) {
    size_t count = 0;
    std::vector<Passage> window;
    size_t bytes = 0;
    const auto flush = [&] {
      bar.begin_window(reader.fraction());
      RunStats stats;
      if (!window.empty()) writer.add(window, &stats);
      replaced_ += stats.utf8_replacements;
      bar.end_window(window.size());
      window.clear();
      bytes = 0;
    };
    while (const auto line = reader.next()) {
      if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
      window.push_back(parse_passage_line(*line, reader.where(), count++, replaced_));
      bytes += line->size();
      if (bytes >= kWindowBytes) flush();
    }
    flush();
    if (count == 0) {
      throw Error(ErrorCode::kInvalidArgument, reader.name() + ": no passages: it is empty");
    }
    return count;
  }

  const Options& options_;
  const Notices notices_;
  size_t replaced_ = 0;
};

}  // namespace

Command add_index(CLI::App& root) {
  CLI::App* app = root.add_subcommand("index", "Embed passages once, for search");
  auto options = std::make_shared<Options>();
  app->add_option("corpus", options->corpus,
                  "passages, one JSON object a line; - is standard input")
      ->required()
      ->type_name("FILE");
  add_choice(*app, "--pooling", options->model.pooling, {"cls", "mean", "last", "splade"},
             "how token vectors become one (default: what the model says)")
      ->group("Embedding");
  add_count(*app, "--max-length", options->index.embed.max_length, 1,
            "tokens of a passage; longer ones are cut (default: the model's)")
      ->group("Embedding");
  add_count(*app, "--batch-tokens", options->index.embed.batch_tokens, 1,
            "tokens that go through the model at once")
      ->group("Embedding");
  add_count(*app, "--dimension", options->index.embed.dimension, 1,
            "numbers that vectors are cut to")
      ->group("Embedding");
  app->add_option("--prefix", options->index.prefix, "stands before each passage")
      ->type_name("TEXT")
      ->group("Embedding");
  app->add_flag("--sparse", options->sparse, "lexical weights as well (BGE-M3, SPLADE)")
      ->group("Embedding");
  app->add_flag("--no-dense", options->no_dense, "lexical weights alone")->group("Embedding");
  add_choice(*app, "--number", options->number, {"f32", "f16"}, "of dense vectors (default: f32)")
      ->group("Output");
  add_model_option(*app, options->model);
  add_place_options(*app, options->model.place);
  app->add_option("-o,--output", options->output.path, "directory to make")
      ->required()
      ->type_name("DIR")
      ->group("Output");
  app->add_flag("-q,--quiet", options->output.quiet, "no notices and no progress bar")
      ->group("Output");
  app->add_flag("-v,--verbose", options->output.verbose, "say more about what is loaded")
      ->group("Output");
  add_progress_option(*app, options->output);
  app->footer(kFooter);
  return {app, [options](auto) { return Index(*options).run(); }};
}

}  // namespace tamis::cli
