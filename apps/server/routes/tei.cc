// The names that Text Embeddings Inference gives to its functions.

#include <algorithm>

#include "dto/tei.h"
#include "routes/tables.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

Response embed(Call& call) {
  return json_response(write_tei_embed(run_embed(call, read_tei_embed(Body(call.request)))));
}

Response embed_sparse(Call& call) {
  EmbedAsk ask = read_tei_embed(Body(call.request));
  ask.dense = false;
  ask.sparse = true;
  return json_response(write_tei_sparse(run_embed(call, ask)));
}

/// The last hidden states, of special tokens too, as they are unless `normalize` is asked for.
Response embed_all(Call& call) {
  EmbedAsk ask = read_tei_embed(Body(call.request), false);
  ask.dense = false;
  ask.hidden_states = true;
  return json_response(write_tei_tokens(run_embed(call, ask)));
}

Response predict(Call& call) {
  // Before the pairs are read, as an embedder's answer to a single text is that it cannot classify.
  Body body(call.request);
  const ModelSet::Ref model = model_for(call, body->text_or("model", ""), Task::kClassify);
  const PredictAsk ask = read_predict(std::move(body));
  RerankOptions options = options_of(*model, ask.lengths, "");
  options.call = control_of(call, ask.urgency);
  report_pairs(call, "predict", ask.pairs);
  const auto results = run_pairs(call, *model, ask.pairs, options);
  return json_response(write_predict(ask, results, model->info()));
}

Response similarity(Call& call) {
  const SimilarityAsk ask = read_similarity(Body(call.request));
  const ModelSet::Ref model = model_for(call, ask.body->text_or("model", ""), Task::kEmbed);
  RerankOptions options = options_of(*model, ask.lengths, ask.source);
  options.call = control_of(call, ask.urgency);
  report_texts(call, "similarity", ask.sentences);
  return json_response(write_similarity(
      model->reranker()->rerank(ask.source, ask.sentences, options, &call.report.stats)));
}

Response tokenize(Call& call) {
  const TokenizeAsk ask = read_tokenize(Body(call.request));
  return json_response(write_tokens(ask, model_for(call, ask.model, Task::kAny)->tokenizer()));
}

Response decode(Call& call) {
  const DecodeAsk ask = read_decode(Body(call.request));
  return json_response(write_decoded(ask, model_for(call, ask.model, Task::kAny)->tokenizer()));
}

Response info(Call& call) {
  const ModelSet::Ref model = model_for(call, "", Task::kAny);
  ServerInfo out;
  out.model_id = model->source().directory.string();
  out.model_name = model->id();
  out.dtype = model->dtype();
  out.max_length = model->max_length(0);
  out.max_concurrent_requests = call.services.max_concurrent_requests;
  out.max_tokens_in_flight = call.services.max_tokens_in_flight;
  out.max_body_bytes = call.services.max_body_bytes;
  for (const Placement& placement : model->place().placement()) {
    out.max_batch_tokens = std::max(out.max_batch_tokens, placement.batch_tokens);
  }
  for (const ModelSet::Ref& one : call.services.models.all()) out.models.push_back(one->id());
  return json_response(write_info(out, model->info()));
}

constexpr Route kRoutes[] = {
    work("/embed", embed, Dialect::kTei),
    work("/embed_sparse", embed_sparse, Dialect::kTei),
    work("/embed_all", embed_all, Dialect::kTei),
    work("/predict", predict, Dialect::kTei),
    work("/similarity", similarity, Dialect::kTei),
    work("/tokenize", tokenize, Dialect::kTei),
    work("/decode", decode, Dialect::kTei),
    {.method = "GET", .path = "/info", .run = info, .dialect = Dialect::kTei},
};

}  // namespace

std::span<const Route> tei_routes() { return kRoutes; }

}  // namespace tamis::server
