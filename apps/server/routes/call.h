#pragma once

// One request on its way through the routes.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dto/http_error.h"
#include "service/model_set.h"
#include "tamis/error.h"
#include "tamis/types.h"
#include "transport/http.h"

namespace tamis::server {

/// What a call has done; for headers, logs and metrics.
struct CallReport {
  std::string model;      ///< id
  std::string device;     ///< where it was: "cpu", "cuda:0,cuda:1"
  std::string task;       ///< "rerank", "embed", ...; "" where no model ran
  size_t texts = 0;       ///< passages, or texts to embed
  size_t characters = 0;  ///< bytes of them
  RunStats stats;
  std::string error;  ///< what went wrong inside, where the client is not told: for the log
};

/// What the routes may use of the server. Everything outlives the requests.
struct Services {
  ModelSet& models;
  /// What /v1/stats and the dashboard show, as JSON; what /metrics shows, as text.
  std::function<std::string()> stats;
  std::function<std::string()> metrics;
  /// Ready: models are warm, and the server does not drain.
  std::function<bool()> ready;
  /// What a model is loaded with where a request does not say otherwise: the shared devices, the
  /// log, the cache.
  LoadOptions load_options = {};
  /// The limits that /info publishes.
  size_t max_body_bytes = 0;
  size_t max_concurrent_requests = 0;
  size_t max_tokens_in_flight = 0;
};

struct Call {
  const Request& request;
  const Services& services;
  std::vector<std::string> parameters = {};  ///< of the path: "/v1/models/{id}/device" has one
  std::string id = {};                       ///< x-request-id
  Dialect dialect = Dialect::kOwn;
  CallReport report = {};
  std::chrono::steady_clock::time_point made = std::chrono::steady_clock::now();

  /// Fills in priority, deadline and stop from the headers (x-tamis-priority: an integer;
  /// x-tamis-timeout-ms) and the request's own stop token; a body's field of that name wins, see
  /// dto. Errors: HttpError 400.
  CallControl control() const;
  /// When its first byte was there, or this call was made.
  std::chrono::steady_clock::time_point begun() const;
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
