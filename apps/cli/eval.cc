// `tamis eval`: how good rankings are, of runs that are there or of models on a data set.

#include <fmt/format.h>

#include <memory>
#include <set>

#include "arguments.h"
#include "commands.h"
#include "io/json_writer.h"
#include "judged_data.h"
#include "nearest.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "tamis/embedder.h"
#include "tamis/evaluate.h"
#include "tamis/reranker.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis eval --qrels qrels.tsv run.trec                          # a run that is there
  tamis eval --qrels qrels.tsv old.trec new.trec                 # two, and whether they differ
  tamis eval --dataset scifact --embedder bge-m3                 # search, as a bi-encoder does
  tamis eval --dataset scifact --embedder bge-m3 --reranker out --save-run new.trec
  tamis eval --dataset scifact --candidates bm25.trec --reranker out

A data set is a folder in BEIR's or FlagEmbedding's layout: corpus.jsonl, queries.jsonl or test_queries.jsonl,
qrels/test.tsv or test_qrels.jsonl. Runs are TREC's six columns, FlagEmbedding's search_results or JSON lines.
ndcg, map, recall and p are those of trec_eval; ± is the 95 % interval of the mean over queries, p-values are of
a randomisation test.)";

struct Options {
  std::vector<std::string> runs;
  std::string qrels, dataset, split = "test", candidates, save_run, embedder, reranker;
  std::string query_instruction;
  std::vector<std::string> metrics = {"ndcg@10", "map@100", "recall@100", "mrr@10"};
  size_t search_top_k = 100, rerank_top_k = 100, max_length = 512;
  bool ignore_identical_ids = false;
  PlaceOptions place;
  OutputOptions output;
};

struct NamedEvaluation {
  std::string name;
  Evaluation evaluation;
};

std::vector<std::string_view> views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

/// Every query against every passage, by inner product.
SearchRun search(const JudgedData& data, const Options& options, const LoadOptions& load,
                 Progress& progress) {
  const Embedder embedder = Embedder::load(plain(options.embedder), load);
  EmbedOptions how;
  how.max_length = options.max_length;
  how.progress = [&](size_t done, size_t total) { progress.update(done, total); };
  std::vector<std::string> queries, passages;
  for (const JudgedQuery& q : data.queries) queries.push_back(options.query_instruction + q.text);
  for (const Passage& p : data.corpus) passages.push_back(p.text);
  const Embeddings q = embedder.embed(views(queries), how);
  progress.begin_window(1.0);
  const Embeddings p = embedder.embed(views(passages), how);
  progress.end_window(passages.size());
  SearchRun run;
  for (size_t i = 0; i < q.count; ++i) {
    const std::vector<double> scores = similarities(q.row(i), p);
    std::vector<RunHit> hits;
    for (size_t j : best_of(scores, options.search_top_k + 1)) {  // one may be left out
      if (options.ignore_identical_ids && data.corpus[j].id == data.queries[i].id) continue;
      if (hits.size() < options.search_top_k) hits.push_back({data.corpus[j].id, scores[j]});
    }
    run[data.queries[i].id] = std::move(hits);
  }
  return run;
}

/// The best of each query in a new order.
SearchRun rerank(const JudgedData& data, const SearchRun& run, const Options& options,
                 const LoadOptions& load, Progress& progress) {
  const Reranker reranker = Reranker::load(plain(options.reranker), load);
  std::map<std::string_view, std::string_view> texts;
  for (const Passage& p : data.corpus) texts[p.id] = p.text;
  RerankOptions how;
  how.max_length = options.max_length;
  SearchRun out;
  size_t done = 0;
  progress.begin_window(1.0);
  for (const JudgedQuery& query : data.queries) {
    const auto found = run.find(query.id);
    if (found == run.end()) continue;
    std::vector<RunHit> hits = found->second;
    std::stable_sort(hits.begin(), hits.end(),
                     [](const RunHit& a, const RunHit& b) { return a.score > b.score; });
    if (hits.size() > options.rerank_top_k) hits.resize(options.rerank_top_k);
    std::vector<std::string_view> passages;
    for (const RunHit& hit : hits) {
      const auto text = texts.find(hit.document);
      if (text == texts.end()) {
        throw Error(
            ErrorCode::kInvalidArgument,
            fmt::format("document {} of query {} is not in the corpus", hit.document, query.id));
      }
      passages.push_back(text->second);
    }
    auto& to = out[query.id];
    for (const RerankResult& r : reranker.rerank(query.text, passages, how)) {
      to.push_back({hits[r.index].document, r.logit});
    }
    progress.update(++done, data.queries.size());
  }
  progress.end_window(done);
  return out;
}

void write_json(std::string& out, const std::vector<NamedEvaluation>& all,
                const std::vector<MetricComparison>& compared) {
  io::JsonWriter json(out, 1);
  json.begin_object().key("runs").begin_array();
  for (const NamedEvaluation& e : all) {
    json.begin_object().key("run").string(e.name);
    json.key("queries").unsigned_integer(e.evaluation.queries.size());
    json.key("not_judged").unsigned_integer(e.evaluation.not_judged);
    json.key("not_in_run").unsigned_integer(e.evaluation.not_in_run);
    json.key("metrics").begin_object();
    for (const MetricValues& m : e.evaluation.metrics) {
      json.key(to_string(m.metric)).begin_object().key("mean").number(m.mean);
      json.key("low").number(m.low).key("high").number(m.high).end_object();
    }
    json.end_object().end_object();
  }
  json.end_array().key("comparison").begin_array();
  for (const MetricComparison& c : compared) {
    json.begin_object().key("metric").string(to_string(c.metric));
    json.key("first").number(c.first).key("second").number(c.second);
    json.key("p_value").number(c.p_value).key("queries").unsigned_integer(c.queries);
    json.key("better")
        .unsigned_integer(c.better)
        .key("worse")
        .unsigned_integer(c.worse)
        .end_object();
  }
  json.end_array().end_object();
  out += '\n';
}

void write_markdown(std::string& out, const std::vector<NamedEvaluation>& all,
                    const std::vector<MetricComparison>& compared) {
  out += "| run | queries |";
  for (const MetricValues& m : all.front().evaluation.metrics)
    out += fmt::format(" {} |", to_string(m.metric));
  out += "\n|---|---|";
  for (size_t i = 0; i < all.front().evaluation.metrics.size(); ++i) out += "---|";
  out += '\n';
  for (const NamedEvaluation& e : all) {
    out += fmt::format("| {} | {} |", e.name, e.evaluation.queries.size());
    for (const MetricValues& m : e.evaluation.metrics) {
      out += fmt::format(" {:.4f} ± {:.4f} |", m.mean, (m.high - m.low) / 2);
    }
    out += '\n';
  }
  if (compared.empty()) return;
  out += fmt::format(
      "\n| metric | {} | {} | difference | better | worse | p |\n|---|---|---|---|---|---|---|\n",
      all[0].name, all[1].name);
  for (const MetricComparison& c : compared) {
    out +=
        fmt::format("| {} | {:.4f} | {:.4f} | {:+.4f} | {} | {} | {:.4f} |\n", to_string(c.metric),
                    c.first, c.second, c.second - c.first, c.better, c.worse, c.p_value);
  }
}

/// The runs that the command line names, or the ones that models make.
std::vector<std::pair<std::string, SearchRun>> make_runs(const Options& options,
                                                         const JudgedData& data,
                                                         const LoadOptions& load) {
  std::vector<std::pair<std::string, SearchRun>> out;
  if (options.dataset.empty()) {
    for (const std::string& path : options.runs) out.emplace_back(path, read_run(plain(path)));
    return out;
  }
  Progress progress(!options.output.quiet && !options.output.no_progress, "texts");
  if (!options.candidates.empty()) {
    out.emplace_back(options.candidates, read_run(plain(options.candidates)));
  } else {
    out.emplace_back(options.embedder, search(data, options, load, progress));
  }
  if (!options.reranker.empty()) {
    out.emplace_back(options.reranker, rerank(data, out.front().second, options, load, progress));
  }
  progress.clear();
  return out;
}

void check(const Options& options) {
  if (options.dataset.empty()) {
    if (options.qrels.empty() || options.runs.empty() || options.runs.size() > 2) {
      throw UsageError("expected --qrels and one or two runs, or --dataset",
                       "see 'tamis eval --help'");
    }
  } else if (!options.runs.empty() || (options.embedder.empty() && options.candidates.empty())) {
    throw UsageError("with --dataset expected --embedder or --candidates, and no runs",
                     "see 'tamis eval --help'");
  }
}

int run(const Options& options) {
  check(options);
  std::vector<Metric> metrics;
  for (const std::string& name : options.metrics) metrics.push_back(parse_metric(plain(name)));
  const Notices notices = options.output.notices();
  Output output = Output::open(plain(options.output.path));
  JudgedData data;
  if (!options.dataset.empty())
    data = read_judged_data(plain(options.dataset), plain(options.split));
  if (!options.qrels.empty()) data.judgements = read_judgements(plain(options.qrels));
  const auto runs = make_runs(options, data, load_options(options.place, notices));
  std::vector<NamedEvaluation> all;
  for (const auto& [name, run] : runs)
    all.push_back({name, evaluate(data.judgements, run, metrics)});
  std::vector<MetricComparison> compared;
  if (all.size() == 2) compared = compare(all[0].evaluation, all[1].evaluation);
  if (!options.save_run.empty()) write_run(plain(options.save_run), runs.back().second, "tamis");
  for (const NamedEvaluation& e : all) {
    if (e.evaluation.not_judged + e.evaluation.not_in_run > 0) {
      notices.say(
          fmt::format("{}: {} queries are not judged, {} judged ones are not in it; neither count",
                      e.name, e.evaluation.not_judged, e.evaluation.not_in_run));
    }
  }
  if (options.output.format == "json") {
    write_json(output.buffer(), all, compared);
  } else {
    write_markdown(output.buffer(), all, compared);
  }
  output.finish();
  return 0;
}

}  // namespace

Command add_eval(CLI::App& root) {
  CLI::App* app = root.add_subcommand("eval", "Measure rankings: nDCG, MAP, recall, MRR");
  auto o = std::make_shared<Options>();
  const auto text = [&](const std::string& name, std::string& to, const std::string& type,
                        const std::string& description, const std::string& group) {
    app->add_option(name, to, description)->type_name(type)->group(group);
  };
  app->add_option("runs", o->runs, "one or two runs")->type_name("RUN")->option_text("[RUN...]");
  text("--qrels", o->qrels, "FILE", "judgements: TREC, BEIR's tsv or JSON lines", "Input");
  text("--dataset", o->dataset, "DIR", "corpus, queries and judgements", "Input");
  text("--split", o->split, "NAME", "of the data set (default: test)", "Input");
  text("--candidates", o->candidates, "RUN", "what --reranker orders, instead of a search",
       "Input");
  text("--embedder", o->embedder, "DIR", "searches the corpus", "Models");
  text("--reranker", o->reranker, "DIR", "orders the best anew", "Models");
  text("--query-instruction", o->query_instruction, "TEXT", "before each query of the search",
       "Models");
  add_count(*app, "--search_top_k,--search-top-k", o->search_top_k, 1,
            "documents found (default: 100)")
      ->group("Models");
  add_count(*app, "--rerank_top_k,--rerank-top-k", o->rerank_top_k, 1,
            "of them ordered anew (default: 100)")
      ->group("Models");
  add_count(*app, "--max-length", o->max_length, 1, "tokens (default: 512)")->group("Models");
  app->add_flag("--ignore_identical_ids,--ignore-identical-ids", o->ignore_identical_ids,
                "a document of the query's own id does not count")
      ->group("Models");
  app->add_option("--metrics", o->metrics, "default: ndcg@10 map@100 recall@100 mrr@10")
      ->type_name("NAME@K...")
      ->group("Output");
  text("--save-run", o->save_run, "FILE", "the last ranking, in TREC's format", "Output");
  add_place_options(*app, o->place);
  add_output_options(*app, o->output, {"markdown", "json"});
  add_progress_option(*app, o->output);
  app->footer(kFooter);
  return {app, [o](auto) { return run(*o); }};
}

}  // namespace tamis::cli
