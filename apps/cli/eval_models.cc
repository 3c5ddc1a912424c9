#include "eval_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "nearest.h"
#include "tamis/error.h"

namespace tamis::cli {
namespace {

std::vector<std::string_view> views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

std::vector<RunHit> best_hits(const std::vector<RunHit>& hits, size_t most) {
  std::vector<RunHit> out = hits;
  std::stable_sort(out.begin(), out.end(),
                   [](const RunHit& a, const RunHit& b) { return a.score > b.score; });
  if (out.size() > most) out.resize(most);
  return out;
}

}  // namespace

EvalModels::EvalModels(EvalModelOptions options, LoadOptions load)
    : options_(std::move(options)), load_(std::move(load)) {}

SearchRun EvalModels::search(const JudgedData& data, Progress& progress) {
  if (!embedder_) embedder_.emplace(Embedder::load(options_.embedder, load_));
  EmbedOptions how;
  how.max_length = options_.query_max_length;
  how.progress = [&](size_t done, size_t total) { progress.update(done, total); };
  std::vector<std::string> queries, passages;
  for (const JudgedQuery& q : data.queries) queries.push_back(options_.query_instruction + q.text);
  for (const Passage& p : data.corpus) passages.push_back(p.text);
  const Embeddings q = embedder_->embed(views(queries), how);
  how.max_length = options_.passage_max_length;
  progress.begin_window(1.0);
  const Embeddings p = embedder_->embed(views(passages), how);
  progress.end_window(passages.size());
  SearchRun run;
  for (size_t i = 0; i < q.count; ++i) {
    const std::vector<double> scores = similarities(q.row(i), p);
    std::vector<RunHit> hits;
    for (size_t j : best_of(scores, options_.search_top_k + 1)) {  // one may be left out
      if (options_.ignore_identical_ids && data.corpus[j].id == data.queries[i].id) continue;
      if (hits.size() < options_.search_top_k) hits.push_back({data.corpus[j].id, scores[j]});
    }
    run[data.queries[i].id] = std::move(hits);
  }
  return run;
}

SearchRun EvalModels::rerank(const JudgedData& data, const SearchRun& run, Progress& progress) {
  if (!reranker_) reranker_.emplace(Reranker::load(options_.reranker, load_));
  std::map<std::string_view, std::string_view> texts;
  for (const Passage& p : data.corpus) texts[p.id] = p.text;
  RerankOptions how;
  how.max_length = options_.reranker_max_length;
  SearchRun out;
  size_t done = 0;
  progress.begin_window(1.0);
  for (const JudgedQuery& query : data.queries) {
    const auto found = run.find(query.id);
    if (found == run.end()) continue;
    const std::vector<RunHit> hits = best_hits(found->second, options_.rerank_top_k);
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
    for (const RerankResult& r : reranker_->rerank(query.text, passages, how)) {
      to.push_back({hits[r.index].document, r.logit});
    }
    progress.update(++done, data.queries.size());
  }
  progress.end_window(done);
  return out;
}

}  // namespace tamis::cli
