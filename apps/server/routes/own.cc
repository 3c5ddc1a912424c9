// Our own words, for all that the library knows of a result.

#include "dto/own.h"

#include "routes/tables.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

Response score(Call& call) {
  const ScoreAsk ask = read_score(Body(call.request));
  const ModelSet::Ref model = model_for(call, ask.model, Task::kRerank);
  RerankOptions options = options_of(*model, ask.lengths, ask.pairs.query);
  options.top_n = ask.top_n;
  options.call = control_of(call, ask.urgency);
  report_texts(call, "rerank", ask.pairs.passages);
  std::vector<RerankResult> results;
  if (ask.pairs.queries.empty()) {
    results =
        model->reranker()->rerank(ask.pairs.query, ask.pairs.passages, options, &call.report.stats);
  } else {
    results = run_pairs(call, *model, requests_of(ask.pairs), options);
  }
  return json_response(write_scores(ask, results, model->info(), answer_of(call)));
}

Response encode(Call& call) {
  const EmbedAsk ask = read_encode(Body(call.request));
  const ModelSet::Ref model = model_for(call, ask.model, task_of(ask));
  const Embeddings out = run_embed(call, *model, ask);
  return json_response(write_encoded(ask, out, model->tokenizer(), answer_of(call)));
}

Response hybrid(Call& call) {
  const HybridAsk ask = read_hybrid(Body(call.request));
  const ModelSet::Ref model = model_for(call, ask.model, Task::kColbert);
  HybridOptions options;
  options.max_query_length = model->max_length(ask.max_query_length);
  options.max_passage_length = model->max_length(ask.max_passage_length);
  options.dense_weight = ask.weights[0];
  options.sparse_weight = ask.weights[1];
  options.colbert_weight = ask.weights[2];
  options.embed.call = control_of(call, ask.urgency);
  report_texts(call, "hybrid", ask.pairs.passages);
  const auto scores =
      model->embedder()->score(text_pairs_of(ask.pairs), options, &call.report.stats);
  return json_response(write_hybrid(ask, scores, answer_of(call)));
}

constexpr Route kRoutes[] = {
    work("/v1/score", score, Dialect::kOwn),
    work("/v1/encode", encode, Dialect::kOwn),
    work("/v1/hybrid", hybrid, Dialect::kOwn),
};

}  // namespace

std::span<const Route> own_routes() { return kRoutes; }

}  // namespace tamis::server
