// How the server is.

#include "routes/tables.h"
#include "routes/work.h"

namespace tamis::server {
namespace {

/// 200 or 503 with nothing in it, as TEI's: for load balancers, which look at the status alone.
Response ready(Call& call) {
  Response out;
  out.content_type = "text/plain; charset=utf-8";
  if (!call.services.ready()) out.status = 503;
  return out;
}

Response live(Call&) {
  Response out;
  out.content_type = "text/plain; charset=utf-8";
  return out;
}

Response stats(Call& call) { return json_response(call.services.stats()); }

Response metrics(Call& call) {
  Response out;
  out.content_type = "text/plain; version=0.0.4; charset=utf-8";
  out.body = call.services.metrics();
  return out;
}

constexpr Route health(std::string_view path, RouteFunction run) {
  return {.method = "GET", .path = path, .run = run, .open = true, .at_once = true};
}

constexpr Route kRoutes[] = {
    health("/health", ready),
    health("/ping", ready),
    health("/v1/health/ready", ready),
    health("/v1/health/live", live),
    {.method = "GET", .path = "/v1/stats", .run = stats},
    {.method = "GET", .path = "/metrics", .run = metrics},
};

}  // namespace

std::span<const Route> state_routes() { return kRoutes; }

}  // namespace tamis::server
