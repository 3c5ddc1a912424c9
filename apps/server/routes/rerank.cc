// Reranking, in the words of every other server.

#include "routes/tables.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

/// TEI, llama.cpp and infinity share this path; the name of the list tells TEI from the others.
Response plain(Call& call) {
  Body body(call.request);
  if (body->has("texts")) {
    const RerankAsk ask = read_tei_rerank(std::move(body));
    return json_response(write_tei_rerank(ask, run_rerank(call, ask)));
  }
  call.dialect = Dialect::kLlamaCpp;
  const RerankAsk ask = read_plain_rerank(std::move(body));
  const auto results = run_rerank(call, ask);
  return json_response(write_plain_rerank(ask, results, answer_of(call)));
}

Response jina(Call& call, std::string_view api_version) {
  const RerankAsk ask = read_jina_rerank(Body(call.request));
  const auto results = run_rerank(call, ask);
  return json_response(write_jina_rerank(ask, results, answer_of(call), api_version));
}

Response version_1(Call& call) { return jina(call, "1"); }
Response version_2(Call& call) { return jina(call, "2"); }

Response ranking(Call& call) {
  const RerankAsk ask = read_ranking(Body(call.request));
  const auto results = run_rerank(call, ask);
  return json_response(write_ranking(results, answer_of(call)));
}

constexpr Route kRoutes[] = {
    work("/rerank", plain, Dialect::kTei),
    work("/reranking", plain, Dialect::kTei),
    work("/v1/rerank", version_1, Dialect::kJina),
    work("/v1/reranking", version_1, Dialect::kJina),
    work("/v2/rerank", version_2, Dialect::kCohere),
    work("/v1/ranking", ranking, Dialect::kJina),
};

}  // namespace

std::span<const Route> rerank_routes() { return kRoutes; }

}  // namespace tamis::server
