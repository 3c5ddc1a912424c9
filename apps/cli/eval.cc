// `tamis eval`: how good rankings are, of runs that are there or of models on data sets.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <memory>
#include <set>

#include "arguments.h"
#include "commands.h"
#include "data_sets.h"
#include "eval_models.h"
#include "eval_results.h"
#include "judged_data.h"
#include "options.h"
#include "output.h"
#include "progress.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis eval --qrels qrels.tsv run.trec                          # a run that is there
  tamis eval --qrels qrels.tsv old.trec new.trec --report a.html # two, and whether they differ
  tamis eval --dataset scifact --embedder bge-m3                 # search, as a bi-encoder does
  tamis eval --dataset scifact --embedder bge-m3 --reranker out --save-run new.trec
  tamis eval --dataset scifact --candidates bm25.trec --reranker out
  tamis eval --dataset miracl --dataset_names ar de --split dev --embedder bge-m3

A data set is a folder in the layout of BEIR, FlagEmbedding, MIRACL or MLDR; --dataset names one,
or a folder of several, which --dataset_names chooses from. Runs are TREC's six columns, JSON lines
or FlagEmbedding's search_results. FlagEmbedding's arguments are taken too: --dataset_dir, --splits,
--embedder_name_or_path, --reranker_name_or_path, --eval_metrics, --eval_output_path, ...
ndcg, map, recall and p are those of trec_eval; ± is the 95 % interval of the mean over queries,
p-values are of a randomisation test.)";

struct Options {
  std::vector<std::string> runs, names, splits = {"test"};
  std::string qrels, dataset, candidates, save_run, report, title = "tamis eval";
  std::vector<std::string> metrics = {"ndcg@10", "map@100", "recall@100", "mrr@10"};
  std::vector<size_t> depths = {1, 3, 5, 10, 20, 50, 100};
  std::vector<std::string> ignored;  ///< of FlagEmbedding's arguments
  size_t max_length = 512;
  size_t query_max_length = 0, passage_max_length = 0, reranker_max_length = 0;  ///< 0: as it
  EvalModelOptions models;
  PlaceOptions place;
  OutputOptions output;
};

using NamedRuns = std::vector<std::pair<std::string, SearchRun>>;

std::vector<std::string> plain_all(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (const std::string& word : words) out.push_back(plain(word));
  return out;
}

EvalModelOptions model_options(const Options& options) {
  EvalModelOptions out = options.models;
  out.embedder = plain(out.embedder);
  out.reranker = plain(out.reranker);
  out.query_instruction = plain(out.query_instruction);
  const auto or_common = [&](size_t length) { return length > 0 ? length : options.max_length; };
  out.query_max_length = or_common(options.query_max_length);
  out.passage_max_length = or_common(options.passage_max_length);
  out.reranker_max_length = or_common(options.reranker_max_length);
  return out;
}

/// What the page draws: nDCG and recall at each depth, and nDCG at 10 in any case.
std::vector<Metric> curve_metrics(const Options& options) {
  std::vector<Metric> out;
  if (options.report.empty()) return out;
  std::set<size_t> depths(options.depths.begin(), options.depths.end());
  depths.insert(10);
  for (const Metric::Kind kind : {Metric::Kind::kNdcg, Metric::Kind::kRecall}) {
    for (size_t depth : depths) out.push_back({kind, depth});
  }
  return out;
}

/// What the models make of a data set, or of the candidates for it.
NamedRuns make_runs(const Options& options, const JudgedData& data, EvalModels& models,
                    Progress& progress) {
  NamedRuns out;
  if (options.candidates.empty()) {
    out.emplace_back(plain(options.models.embedder), models.search(data, progress));
  } else {
    out.emplace_back(plain(options.candidates), read_run(plain(options.candidates)));
  }
  if (!options.models.reranker.empty()) {
    SearchRun ordered = models.rerank(data, out.front().second, progress);
    out.emplace_back(plain(options.models.reranker), std::move(ordered));
  }
  progress.clear();
  return out;
}

/// "new.trec" of the data set "ar-dev" is "new.ar-dev.trec", where there are several.
std::string path_of_run(const std::string& path, const std::string& set) {
  if (set.empty()) return path;
  const std::filesystem::path p(path);
  return (p.parent_path() / (p.stem().string() + "." + set + p.extension().string())).string();
}

void say_what_does_not_count(const Notices& notices, const DataSetResult& set) {
  for (const RunResult& r : set.runs) {
    const Evaluation& e = r.evaluation;
    if (e.not_judged + e.not_in_run == 0) continue;
    notices.say(fmt::format(
        "{}{}{}: {} queries are not judged, {} judged ones are not in it; neither count", set.name,
        set.name.empty() ? "" : ", ", r.run, e.not_judged, e.not_in_run));
  }
}

DataSetResult evaluate_all(const Options& options, const std::string& name,
                           const Judgements& judgements, const NamedRuns& runs) {
  std::vector<Metric> metrics;
  for (const std::string& metric : options.metrics) metrics.push_back(parse_metric(plain(metric)));
  const std::vector<Metric> curves = curve_metrics(options);
  DataSetResult out{name, {}, {}};
  for (const auto& [run_name, run] : runs) {
    RunResult result{run_name, evaluate(judgements, run, metrics), {}};
    if (!curves.empty()) result.curves = evaluate(judgements, run, curves);
    out.runs.push_back(std::move(result));
  }
  if (out.runs.size() == 2) {
    out.compared = compare(out.runs[0].evaluation, out.runs[1].evaluation);
  }
  return out;
}

std::vector<DataSetResult> evaluate_runs(const Options& options) {
  NamedRuns runs;
  for (const std::string& path : options.runs) {
    runs.emplace_back(plain(path), read_run(plain(path)));
  }
  if (!options.save_run.empty()) write_run(plain(options.save_run), runs.back().second, "tamis");
  return {evaluate_all(options, "", read_judgements(plain(options.qrels)), runs)};
}

std::vector<DataSetResult> evaluate_models(const Options& options, const Notices& notices) {
  const std::vector<std::string> names = plain_all(options.names);
  const std::vector<DataSetFiles> sets =
      find_data_sets(plain(options.dataset), names, plain_all(options.splits));
  if (sets.size() > 1 && !options.qrels.empty()) {
    throw UsageError(fmt::format("--qrels judges one data set, and there are {}", sets.size()),
                     "choose one with --dataset_names and --split");
  }
  EvalModels models(model_options(options), load_options(options.place, notices));
  Progress progress(!options.output.quiet && !options.output.no_progress, "texts");
  std::vector<DataSetResult> out;
  for (const DataSetFiles& files : sets) {
    JudgedData data = read_data_set(files);
    if (!options.qrels.empty()) data.judgements = read_judgements(plain(options.qrels));
    const NamedRuns runs = make_runs(options, data, models, progress);
    const std::string several = sets.size() > 1 ? files.name : "";
    if (!options.save_run.empty()) {
      write_run(path_of_run(plain(options.save_run), several), runs.back().second, "tamis");
    }
    try {
      out.push_back(
          evaluate_all(options, names.empty() ? several : files.name, data.judgements, runs));
    } catch (const Error& error) {  // which of them it was
      if (several.empty()) throw;
      throw Error(error.code(), fmt::format("{}: {}", several, error.what()));
    }
    if (!several.empty()) notices.say(fmt::format("{}: done", several));
  }
  return out;
}

void check(const Options& options) {
  if (options.dataset.empty()) {
    if (options.qrels.empty() || options.runs.empty() || options.runs.size() > 2) {
      throw UsageError("expected --qrels and one or two runs, or --dataset",
                       "see 'tamis eval --help'");
    }
  } else if (!options.runs.empty() ||
             (options.models.embedder.empty() && options.candidates.empty())) {
    throw UsageError("with --dataset expected --embedder or --candidates, and no runs",
                     "see 'tamis eval --help'");
  }
  for (const std::string& metric : options.metrics) parse_metric(plain(metric));
  for (size_t depth : options.depths) {
    if (depth == 0) throw UsageError("--k_values: expected whole numbers of at least 1, got 0", "");
  }
  // A place that cannot be written is told now, not after hours.
  if (!options.report.empty()) Output::open(plain(options.report));
}

void write_report(const Options& options, const std::vector<DataSetResult>& sets) {
  Output page = Output::open(plain(options.report));
  page.buffer() = eval_page(plain(options.title), sets);
  page.finish();
}

int run(const Options& options) {
  check(options);
  const Notices notices = options.output.notices();
  say_ignored(notices, options.ignored);
  Output output = Output::open(plain(options.output.path));
  const std::vector<DataSetResult> sets =
      options.dataset.empty() ? evaluate_runs(options) : evaluate_models(options, notices);
  for (const DataSetResult& set : sets) say_what_does_not_count(notices, set);
  if (!options.report.empty()) write_report(options, sets);
  if (options.output.format == "json") {
    write_json(output.buffer(), sets);
  } else {
    write_markdown(output.buffer(), sets);
  }
  output.finish();
  return 0;
}

void add_inputs(CLI::App& app, Options& o) {
  const auto input = [&](const std::string& name, auto& to, const std::string& type,
                         const std::string& description) {
    app.add_option(name, to, description)->type_name(type)->group("Input");
  };
  app.add_option("runs", o.runs, "one or two runs")->type_name("RUN")->option_text("[RUN...]");
  input("--qrels", o.qrels, "FILE", "judgements: TREC, BEIR's tsv or JSON lines");
  input("--dataset", o.dataset, "DIR", "corpus, queries and judgements");
  input(both("dataset_names"), o.names, "NAME...", "folders of it (default: all)");
  input("--split", o.splits, "NAME...", "of the data set (default: test)");
  input("--candidates", o.candidates, "RUN", "what --reranker orders, instead of a search");
}

void add_models(CLI::App& app, Options& o) {
  const auto text = [&](const std::string& name, std::string& to, const std::string& type,
                        const std::string& description) {
    app.add_option(name, to, description)->type_name(type)->group("Models");
  };
  const auto count = [&](const std::string& name, size_t& to, const std::string& description) {
    add_count(app, name, to, 1, description)->group("Models");
  };
  text("--embedder", o.models.embedder, "DIR", "searches the corpus");
  text("--reranker", o.models.reranker, "DIR", "orders the best anew");
  text("--query-instruction", o.models.query_instruction, "TEXT",
       "before each query of the search");
  count(both("search_top_k"), o.models.search_top_k, "documents found (default: 100)");
  count(both("rerank_top_k"), o.models.rerank_top_k, "of them ordered anew (default: 100)");
  count("--max-length", o.max_length, "tokens of a text, or of a pair (default: 512)");
  count(both("embedder_query_max_length"), o.query_max_length, "of a query of the search");
  count(both("embedder_passage_max_length"), o.passage_max_length, "of a passage of the search");
  count(both("reranker_max_length"), o.reranker_max_length, "of a pair");
  app.add_option(both("ignore_identical_ids"), o.models.ignore_identical_ids,
                 "a document of the query's own id does not count")
      ->type_name("[BOOL]")
      ->expected(0, 1)
      ->default_str("true")
      ->group("Models");
}

void add_outputs(CLI::App& app, Options& o) {
  app.add_option("--metrics", o.metrics, "default: ndcg@10 map@100 recall@100 mrr@10")
      ->type_name("NAME@K...")
      ->group("Output");
  app.add_option("--save-run", o.save_run, "the last ranking, in TREC's format")
      ->type_name("FILE")
      ->group("Output");
  app.add_option("--report", o.report, "a page with tables and pictures (HTML)")
      ->type_name("FILE")
      ->group("Output");
  app.add_option(both("k_values"), o.depths, "of its curves (default: 1 3 5 10 20 50 100)")
      ->type_name("K...")
      ->group("Output");
  app.add_option(both("eval_name"), o.title, "its title")->type_name("TEXT")->group("Output");
}

/// FlagEmbedding's names of what has another name here, and what it has that is of no use here:
/// taken, but not in the help.
void add_names_of_flagembedding(CLI::App& app, Options& o) {
  const auto alias = [&](const std::string& name, auto& to) {
    app.add_option(both(name), to)->group("");
  };
  alias("dataset_dir", o.dataset);
  alias("splits", o.splits);
  alias("embedder_name_or_path", o.models.embedder);
  alias("reranker_name_or_path", o.models.reranker);
  alias("query_instruction_for_retrieval", o.models.query_instruction);
  alias("eval_metrics", o.metrics);
  alias("eval_output_path", o.output.path);
  add_choice(app, both("eval_output_method"), o.output.format, {"markdown", "json"}, "")->group("");
  add_ignored_options(
      app,
      {"cache_dir", "cache_path", "corpus_embd_save_dir", "embedder_batch_size",
       "embedder_model_class", "force_redownload", "output_dir", "overwrite", "reranker_batch_size",
       "reranker_model_class", "token", "trust_remote_code", "use_bf16", "use_fp16"},
      o.ignored);
}

}  // namespace

Command add_eval(CLI::App& root) {
  CLI::App* app = root.add_subcommand("eval", "Measure rankings: nDCG, MAP, recall, MRR");
  auto o = std::make_shared<Options>();
  add_inputs(*app, *o);
  add_models(*app, *o);
  add_outputs(*app, *o);
  add_place_options(*app, o->place);
  add_output_options(*app, o->output, {"markdown", "json"});
  add_names_of_flagembedding(*app, *o);
  add_progress_option(*app, o->output);
  app->footer(kFooter);
  return {app, [o](auto) { return run(*o); }};
}

}  // namespace tamis::cli
