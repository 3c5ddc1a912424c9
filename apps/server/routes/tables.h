#pragma once

// The routes of each family; all_routes joins them.

#include <span>

#include "routes/call.h"

namespace tamis::server {

/// A route that runs a model.
constexpr Route work(std::string_view path, RouteFunction run, Dialect dialect) {
  return {.method = "POST", .path = path, .run = run, .dialect = dialect, .work = true};
}

std::span<const Route> rerank_routes();  ///< /rerank, /v1/rerank, /v2/rerank, /v1/ranking
std::span<const Route> embed_routes();   ///< OpenAI's, and Cohere's
std::span<const Route> tei_routes();     ///< TEI's own names
std::span<const Route> own_routes();     ///< /v1/score, /v1/encode, /v1/hybrid
std::span<const Route> model_routes();   ///< what is loaded, and loading, moving, unloading
std::span<const Route> state_routes();   ///< health, statistics, metrics
std::span<const Route> web_routes();     ///< the page, and the OpenAPI document

}  // namespace tamis::server
