#pragma once

// One request on its way through the routes.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "service/model_set.h"
#include "tamis/error.h"
#include "tamis/types.h"
#include "transport/http.h"

namespace tamis::server {

/// How a family of routes words its errors.
enum class Dialect {
  kOwn,
  kOpenAi,
  kTei,
  kTeiOpenAi,
  kCohere,
  kJina,
  kVoyage,
  kLlamaCpp,
  kInfinity
};

/// What a request is told, whatever the dialect. Routes throw it, or tamis::Error.
struct HttpError {
  int status = 400;
  std::string type;  ///< "invalid_argument", "overloaded", ...: own words, mapped by the dialect
  std::string message;
  std::optional<double> retry_after_s = {};
};

/// What a call has done; for headers, logs and metrics.
struct CallReport {
  std::string model;      ///< id
  std::string task;       ///< "rerank", "embed", ...; "" where no model ran
  size_t texts = 0;       ///< passages, or texts to embed
  size_t characters = 0;  ///< bytes of them
  RunStats stats;
};

/// What the routes may use of the server. Everything outlives the requests.
struct Services {
  ModelSet& models;
  /// What /v1/stats and the dashboard show, as JSON; what /metrics shows, as text.
  std::function<std::string()> stats;
  std::function<std::string()> metrics;
  /// Ready: models are warm, and the server does not drain.
  std::function<bool()> ready;
  /// The limits that /info publishes.
  size_t max_body_bytes = 0;
  size_t max_concurrent_requests = 0;
  size_t max_tokens_in_flight = 0;
};

struct Call {
  const Request& request;
  Services& services;
  std::vector<std::string> parameters = {};  ///< of the path: "/v1/models/{id}/device" has one
  std::string id = {};                       ///< x-request-id
  Dialect dialect = Dialect::kOwn;
  CallReport report = {};

  /// Fills in priority, deadline and stop from the headers (x-tamis-priority: an integer;
  /// x-tamis-timeout-ms) and the request's own stop token; a body's field of that name wins, see
  /// dto. Errors: HttpError 400.
  CallControl control() const;
};

/// A route's function; runs on a worker, may throw HttpError or tamis::Error.
using RouteFunction = Response (*)(Call& call);

struct Route {
  std::string_view method;  ///< "GET", "POST", "PUT", "DELETE"
  std::string_view path;    ///< "/v1/models/{id}/device"; {x} matches one segment
  RouteFunction run;
  Dialect dialect = Dialect::kOwn;
  bool admin = false;    ///< needs the operator's key, or the admin listener
  bool open = false;     ///< needs no key at all: /health
  bool at_once = false;  ///< answers without waiting, even when everything else is busy
  bool work = false;     ///< takes part in admission: runs a model
};

}  // namespace tamis::server
