#pragma once

// Which route a request is for.

#include <string>
#include <string_view>
#include <vector>

#include "routes/call.h"

namespace tamis::server {

/// Every route of the server; the OpenAPI document lists the same ones.
const std::vector<Route>& all_routes();

struct Match {
  const Route* route = nullptr;         ///< null: 404, or 405 if something is allowed
  std::vector<std::string> parameters;  ///< Call::parameters
  std::string allow;                    ///< methods that the path has: "GET, HEAD"
};

/// HEAD is looked up as GET, and a trailing slash is no difference. A parameter takes what stands
/// between the fixed parts of its path, slashes included: the ids of models have them. A path
/// without parameters goes before one with them, and of those the one with the most fixed parts.
/// Thread rule: any thread.
class Router {
 public:
  explicit Router(const std::vector<Route>& routes = all_routes()) : routes_(routes) {}

  Match find(std::string_view method, std::string_view path) const;

 private:
  const std::vector<Route>& routes_;
};

/// How the routes of this path word their errors, also where a request did not get as far as one.
Dialect dialect_of(std::string_view path);

/// The answer to a request that matched nothing.
Response no_route(const Match& match, std::string_view method, std::string_view path);

/// Runs it and never throws: what goes wrong becomes the dialect's answer. Adds the timings.
Response run_route(const Route& route, Call& call);

/// From the request line to the answer, without admission and keys: for tests and the fuzzer.
Response answer(Call& call);

}  // namespace tamis::server
