// Embedding, in OpenAI's words and in Cohere's.

#include "routes/tables.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

Response openai(Call& call) {
  const EmbedAsk ask = read_openai_embed(Body(call.request));
  const Embeddings out = run_embed(call, ask);
  return json_response(write_openai_embed(ask, out, answer_of(call)));
}

Response cohere(Call& call, std::string_view api_version) {
  const EmbedAsk ask = read_cohere_embed(Body(call.request));
  const Embeddings out = run_embed(call, ask);
  return json_response(write_cohere_embed(ask, out, answer_of(call), api_version));
}

Response version_1(Call& call) { return cohere(call, "1"); }
Response version_2(Call& call) { return cohere(call, "2"); }

constexpr Route kRoutes[] = {
    work("/v1/embeddings", openai, Dialect::kOpenAi),
    work("/embeddings", openai, Dialect::kOpenAi),
    work("/v1/embed", version_1, Dialect::kCohere),
    work("/v2/embed", version_2, Dialect::kCohere),
};

}  // namespace

std::span<const Route> embed_routes() { return kRoutes; }

}  // namespace tamis::server
