// tamis search

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "arguments.h"
#include "commands.h"
#include "display_width.h"
#include "options.h"
#include "tamis/embedder.h"
#include "tamis/index.h"
#include "tamis/reranker.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis search corpus.index "what is a tamis?"
  tamis search corpus.index "what is a tamis?" --mode hybrid --rerank colbert
  tamis search corpus.index --rerank bge-reranker-v2-m3 --candidates 100 --top-k 10 "what is a tamis?"
  tamis search corpus.index --input queries.jsonl --format jsonl > hits.jsonl

The query is embedded by the model of the index. --rerank orders the candidates anew: "colbert" by
the model's own vectors of tokens, anything else is the directory of a reranker.
Input is one query a line, {"text": "..."}; the answer to each is
{"hits": [{"rank", "id", "score", "text"}, ...]}.)";

struct Options {
  ModelOptions model;
  OutputOptions output;
  InputOptions input;
  std::string index;
  std::vector<std::string> queries;
  std::string prefix;
  std::string mode;
  std::string rerank;
  size_t top_k = 10;
  size_t candidates = 100;
};

class SearchJob : public LineJob<TextLine, std::vector<SearchHit>> {
 public:
  SearchJob(const Options& options, const PassageIndex& index, const Embedder& embedder,
            const std::optional<Reranker>& reranker)
      : options_(options), index_(index), embedder_(embedder), reranker_(reranker) {
    mode_ = options.mode;
    if (mode_.empty()) mode_ = index.dimension() > 0 ? "dense" : "sparse";
  }

  TextLine parse(std::string_view line, const std::string& where) override {
    return parse_text_line(line, where, /*pairs_allowed=*/false, replaced_);
  }

  std::vector<std::vector<SearchHit>> run(std::span<const TextLine> items) override {
    std::vector<std::vector<SearchHit>> out;
    for (const TextLine& item : items) out.push_back(search(item.text));
    return out;
  }

  void write(std::string& out, const TextLine& item, const std::vector<SearchHit>& hits,
             JsonLayout layout) override {
    if (format_of(options_.output.format) != Format::kTable) {
      write_hits(out, hits, layout);
      return;
    }
    if (several_) out += fit_to_columns(item.text, 0) + "\n";
    for (size_t i = 0; i < hits.size(); ++i) {
      out += fmt::format("{:>4} {:>9.4f}  {:<12} {}\n", i + 1, hits[i].score,
                         fit_to_columns(hits[i].id, 24), fit_to_columns(hits[i].text, 100));
    }
  }

  void set_several(bool several) { several_ = several; }
  size_t replaced() const { return replaced_; }

 private:
  std::vector<SearchHit> search(const std::string& text) const {
    const std::string whole = plain(options_.prefix) + text;
    const std::string_view view = whole;
    EmbedOptions embed;
    embed.dense = mode_ != "sparse";
    embed.sparse = mode_ != "dense";
    embed.dimension = embed.dense ? index_.dimension() : 0;
    embed.normalize = index_.normalized();
    const Embeddings query = embedder_.embed({&view, 1}, embed);
    const size_t wanted =
        options_.rerank.empty() ? options_.top_k : std::max(options_.top_k, options_.candidates);
    const auto hits = mode_ == "dense" ? index_.search(query.row(0), wanted)
                      : mode_ == "sparse"
                          ? index_.search(query.sparse[0], wanted)
                          : index_.search(query.row(0), query.sparse[0], 1.0, 1.0, wanted);
    std::vector<SearchHit> out;
    for (const Hit& hit : hits) {
      Passage passage = index_.passage(hit.place);
      out.push_back(
          {std::move(passage.id), std::move(passage.text), static_cast<double>(hit.score)});
    }
    if (!options_.rerank.empty() && !out.empty()) rescore(text, whole, out);
    if (out.size() > options_.top_k) out.resize(options_.top_k);
    return out;
  }

  void rescore(const std::string& text, const std::string& whole,
               std::vector<SearchHit>& hits) const {
    std::vector<std::string_view> texts;
    for (const SearchHit& hit : hits) texts.push_back(hit.text);
    if (reranker_) {
      for (const RerankResult& r : reranker_->rerank(text, texts)) {
        hits[r.index].score = static_cast<double>(r.logit);
      }
    } else {
      texts.push_back(whole);
      EmbedOptions colbert;
      colbert.dense = false;
      colbert.colbert = true;
      colbert.normalize = true;
      const Embeddings e = embedder_.embed(texts, colbert);
      for (size_t i = 0; i < hits.size(); ++i) {
        hits[i].score = colbert_score(e.colbert(hits.size()), e.colbert(i));
      }
    }
    std::stable_sort(hits.begin(), hits.end(),
                     [](const auto& a, const auto& b) { return a.score > b.score; });
  }

  const Options& options_;
  const PassageIndex& index_;
  const Embedder& embedder_;
  const std::optional<Reranker>& reranker_;
  std::string mode_;
  bool several_ = false;
  size_t replaced_ = 0;
};

class Search {
 public:
  explicit Search(const Options& options) : options_(options), notices_(options.output.notices()) {}

  int run() {
    const std::string input = lines_input(options_.queries, options_.input);
    const PassageIndex index = PassageIndex::open(plain(options_.index));
    ModelOptions model = options_.model;
    const std::string directory = model.directory.empty() ? index.model() : plain(model.directory);
    if (model.pooling.empty()) model.pooling = index.pooling();
    const Embedder embedder = Embedder::load(directory, load_options(model, 0, notices_));
    std::optional<Reranker> reranker;
    const std::string second = plain(options_.rerank);
    if (!second.empty() && second != "colbert") {
      reranker = Reranker::load(second, load_options(options_.model, 0, notices_));
    }
    Output output = Output::open(plain(options_.output.path));
    SearchJob job(options_, index, embedder, reranker);
    int status = 0;
    if (input.empty()) {
      const auto queries = text_lines(options_.queries);
      job.set_several(queries.size() > 1);
      const std::vector<std::vector<SearchHit>> hits = job.run(queries);
      write_items(output.buffer(), job, queries, hits, format_of(options_.output.format));
    } else {
      LineReader reader = LineReader::open(input);
      job.set_several(true);
      LineLoop loop(reader, output,
                    {format_of(options_.output.format), options_.input.keep_going, false}, job);
      status = loop.run();
      say_failed_lines(loop.errors(), reader.name());
      notices_.say_replaced(job.replaced(), reader.name());
    }
    output.finish();
    return status;
  }

 private:
  const Options& options_;
  const Notices notices_;
};

}  // namespace

Command add_search(CLI::App& root) {
  CLI::App* app = root.add_subcommand("search", "Find passages of an index");
  auto options = std::make_shared<Options>();
  app->add_option("index", options->index, "directory that tamis index made")
      ->required()
      ->type_name("INDEX");
  app->add_option("queries", options->queries, "queries; after -- also with a dash")
      ->type_name("")
      ->option_text("QUERY...");
  add_input_option(*app, options->input, "queries, one JSON object a line; - is standard input");
  add_choice(*app, "--mode", options->mode, {"dense", "sparse", "hybrid"},
             "default: dense where the index has it")
      ->group("Search");
  add_count(*app, "-k,--top-k", options->top_k, 1, "hits of a query (default: 10)")
      ->group("Search");
  app->add_option("--rerank", options->rerank, "\"colbert\", or the directory of a reranker")
      ->type_name("DIR")
      ->group("Search");
  add_count(*app, "--candidates", options->candidates, 1, "hits to order anew (default: 100)")
      ->group("Search");
  app->add_option("--prefix", options->prefix, "stands before each query")
      ->type_name("TEXT")
      ->group("Search");
  add_model_option(*app, options->model);
  app->get_option("--model")->description("model directory (default: the one of the index)");
  add_place_options(*app, options->model.place);
  add_output_options(*app, options->output, {"table", "json", "jsonl"});
  app->footer(kFooter);
  return {app, [options](auto) { return Search(*options).run(); }};
}

}  // namespace tamis::cli
