#include "routes/router.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "dto/error_body.h"
#include "routes/tables.h"

namespace tamis::server {
namespace {

std::string_view without_slash(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

struct Fit {
  size_t fixed = 0;       // characters that the path had to have; all of them where no {x} is
  std::string parameter;  // what {x} stands for; empty where none is
};

std::optional<Fit> fit(std::string_view pattern, std::string_view path) {
  const size_t open = pattern.find('{');
  if (open == std::string_view::npos) {
    if (pattern != path) return std::nullopt;
    return Fit{std::string_view::npos, {}};
  }
  const std::string_view before = pattern.substr(0, open);
  const std::string_view after = pattern.substr(pattern.find('}') + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
      !path.ends_with(after)) {
    return std::nullopt;
  }
  path.remove_prefix(before.size());
  path.remove_suffix(after.size());
  return Fit{before.size() + after.size(), std::string(path)};
}

/// Of all that fit: only those that fit best, so that a method which the best path lacks is 405.
struct Best {
  std::vector<const Route*> routes;
  Fit fit;
};

Best best_of(const std::vector<Route>& routes, std::string_view path) {
  Best best;
  for (const Route& route : routes) {
    const auto fitted = fit(route.path, path);
    if (!fitted) continue;
    if (best.routes.empty() || fitted->fixed > best.fit.fixed) best = {{}, *fitted};
    if (fitted->fixed == best.fit.fixed) best.routes.push_back(&route);
  }
  return best;
}

}  // namespace

const std::vector<Route>& all_routes() {
  static const std::vector<Route> routes = [] {
    std::vector<Route> all;
    for (const auto part : {rerank_routes(), embed_routes(), tei_routes(), own_routes(),
                            model_routes(), state_routes(), web_routes()}) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }();
  return routes;
}

Match Router::find(std::string_view method, std::string_view path) const {
  Match out;
  const Best best = best_of(routes_, without_slash(path));
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route* route : best.routes) {
    if (!out.allow.empty()) out.allow += ", ";
    out.allow += route->method;
    if (route->method == "GET") out.allow += ", HEAD";
    if (route->method == wanted) out.route = route;
  }
  if (out.route != nullptr && !best.fit.parameter.empty()) out.parameters = {best.fit.parameter};
  return out;
}

Dialect dialect_of(std::string_view path) {
  const Best best = best_of(all_routes(), without_slash(path));
  return best.routes.empty() ? Dialect::kOwn : best.routes.front()->dialect;
}

Response no_route(const Match& match, std::string_view method, std::string_view path) {
  HttpError error;
  if (match.allow.empty()) {
    error = {404, "not_found", fmt::format("there is no {}; GET /openapi.json says what is", path)};
  } else {
    error = {405, "method_not_allowed",
             fmt::format("{}: expected {}, got {}", path, match.allow, method)};
  }
  Response out = error_response(dialect_of(path), error);
  if (!match.allow.empty()) out.headers.add("Allow", match.allow);
  return out;
}

Response answer(Call& call) {
  const std::string_view method = call.request.method;
  const std::string_view path = call.request.path;
  Match match = Router().find(method, path);
  if (match.route == nullptr) return no_route(match, method, path);
  call.parameters = std::move(match.parameters);
  return run_route(*match.route, call);
}

}  // namespace tamis::server
