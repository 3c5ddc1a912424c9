#include "app.h"

#include <algorithm>
#include <random>

#include "base/fail.h"
#include "dto/error_body.h"

namespace tamis::server {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The client's own x-request-id if it is decent, else one of ours.
std::string request_id(const Headers& headers) {
  const std::string_view given = headers.get("x-request-id");
  const bool decent =
      !given.empty() && given.size() <= 128 && std::all_of(given.begin(), given.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ||
               c == ':';
      });
  if (decent) return std::string(given);
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{:016x}", random());
}

/// The trace of a W3C `traceparent`: 00-<32 hex>-<16 hex>-<2 hex>; empty if it is none.
std::string_view trace_of(const Headers& headers) {
  const std::string_view parent = headers.get("traceparent");
  constexpr std::string_view kHex = "0123456789abcdef";
  if (parent.size() < 55 || parent[2] != '-' || parent[35] != '-' || parent[52] != '-') return {};
  const std::string_view trace = parent.substr(3, 32);
  const bool hex = trace.find_first_not_of(kHex) == std::string_view::npos &&
                   parent.substr(36, 16).find_first_not_of(kHex) == std::string_view::npos;
  return hex && trace.find_first_not_of('0') != std::string_view::npos ? trace : "";
}

WorkLimits work_limits(const Settings& s) { return {s.max_requests, s.max_tokens, s.max_wait_ms}; }

}  // namespace

App::App(const Settings& settings, const LoadOptions& load_options, ModelSet& models,
         const Devices& devices, Metrics& metrics, Log& log)
    : models_(models),
      devices_(devices),
      metrics_(metrics),
      log_(log),
      services_{models,
                [this] { return stats_json(metrics_, sources()); },
                [this] { return metrics_.prometheus(sources()); },
                [this] { return ready_ && !draining_; },
                load_options,
                settings.limits.body_bytes,
                settings.max_requests,
                settings.max_tokens},
      admission_(work_limits(settings)),
      cors_origins_(settings.cors_origins),
      admin_listener_(!settings.admin_socket.empty()),
      listeners_(admin_listener_ ? 2 : 1) {
  apply(settings);
}

void App::apply(const Settings& settings) {
  keys_.set(settings.api_keys);
  admin_keys_.set(settings.admin_keys);
  admission_.set_limits(work_limits(settings));
  rates_.set(settings.address_rate);
  request_ms_ = settings.request_ms;
  log_requests_ = settings.log_requests;
}

void App::batch(const BatchReport& report) {
  metrics_.batch(report);
  if (report.out_of_memory) return;
  double tokens_per_s = 0;
  {
    const std::lock_guard lock(speed_mutex_);
    // About the last hundred batches.
    recent_tokens_ = recent_tokens_ * 0.99 + static_cast<double>(report.tokens);
    recent_ms_ = recent_ms_ * 0.99 + report.ms;
    tokens_per_s = 1000 * recent_tokens_ / std::max(recent_ms_, 1e-3);
  }
  size_t replicas = 0;
  for (const auto& model : models_.all()) replicas = std::max(replicas, model->replicas());
  admission_.set_speed(tokens_per_s * static_cast<double>(std::max<size_t>(1, replicas)));
}

Sources App::sources() const {
  return {&models_,
          &devices_,
          transport_,
          admission_.waiting_tokens(),
          admission_.most_tokens(),
          ready_ && !draining_,
          draining_};
}

App::Access App::access_of(const RequestHead& head) const {
  if (admin_listener_ && head.peer.listener + 1 == listeners_) return Access::kAdmin;
  const std::string_view key = key_of(head.headers);
  if (!key.empty() && admin_keys_.has(key)) return Access::kAdmin;
  if (keys_.empty() || (!key.empty() && keys_.has(key))) return Access::kUser;
  return Access::kNone;
}

std::optional<HttpError> App::refusal_of_key(const RequestHead& head, const Route& route) const {
  if (route.open) return std::nullopt;
  const Access access = access_of(head);
  if (access == Access::kAdmin || (access == Access::kUser && !route.admin)) return std::nullopt;
  if (access == Access::kUser) {
    return HttpError{403, "forbidden",
                     admin_keys_.empty()
                         ? "this route is for the operator: set admin-key-file, or use admin-socket"
                         : "this route is for the operator: it needs an admin key"};
  }
  return HttpError{401, "unauthorized",
                   "a key is needed: send it as 'Authorization: Bearer KEY' or in x-api-key"};
}

Admission App::refused(const RequestHead& head, Dialect dialect, const HttpError& error,
                       std::string_view why) {
  metrics_.refused(why);
  Admission out;
  out.kind = Admission::Kind::kRefuse;
  out.response = error_response(dialect, error);
  const std::string id = request_id(head.headers);
  add_common_headers(head, id, out.response);
  if (error.status == 401) out.response.headers.add("www-authenticate", "Bearer");
  if (log_.takes(LogLevel::kDebug)) {
    log_.write(LogLevel::kDebug, "refused",
               {{"request_id", std::string_view(id)},
                {"path", std::string_view(head.path)},
                {"status", static_cast<int64_t>(error.status)},
                {"reason", why}});
  }
  return out;
}

Admission App::admit(const RequestHead& head) {
  const Dialect dialect = dialect_of(head.path);
  const Match match = router_.find(head.method, head.path);
  if (match.route == nullptr) {
    if (head.method == "OPTIONS" && !match.allow.empty()) {
      Admission out;
      out.kind = Admission::Kind::kRefuse;  // answered, in fact: there is no more to it
      out.response.status = 204;
      out.response.headers.add("allow", match.allow);
      add_common_headers(head, request_id(head.headers), out.response);
      return out;
    }
    const bool known = !match.allow.empty();
    Admission out = refused(
        head, dialect,
        known ? HttpError{405, "method_not_allowed",
                          fmt::format("{} takes {}, not {}", head.path, match.allow, head.method)}
              : HttpError{404, "not_found",
                          fmt::format("there is no {}; GET /openapi.json lists all routes",
                                      head.path)},
        known ? "method" : "path");
    if (known) out.response.headers.add("allow", match.allow);
    return out;
  }
  const Route& route = *match.route;
  if (const auto error = refusal_of_key(head, route)) {
    return refused(head, route.dialect, *error, "key");
  }
  if (!route.open && head.peer.address != "unix") {
    if (const auto wait = rates_.refuse(head.peer.address, Clock::now())) {
      return refused(head, route.dialect,
                     {429, "rate_limited", "too many requests of this address", wait}, "rate");
    }
  }
  Admission out;
  out.kind = route.at_once ? Admission::Kind::kAtOnce : Admission::Kind::kWork;
  if (!route.work) return out;
  if (draining_) {
    return refused(head, route.dialect, {503, "unavailable", "the server is stopping", 5.0},
                   "draining");
  }
  if (!ready_) {
    return refused(head, route.dialect, {503, "unavailable", "the models are being loaded", 2.0},
                   "loading");
  }
  WorkAdmission::Refusal refusal;
  out.ticket = admission_.enter(head.body_bytes, refusal);
  if (out.ticket) return out;
  const std::string message =
      refusal.too_many_requests
          ? std::string("overloaded: as many requests as the server takes are being answered")
          : fmt::format("overloaded: {} tokens are waiting, and the limit is {}",
                        refusal.waiting_tokens, refusal.most_tokens);
  return refused(head, route.dialect, {429, "overloaded", message, refusal.retry_after_s},
                 "overloaded");
}

Response App::answer(Request request) {
  const Match match = router_.find(request.method, request.path);
  if (match.route == nullptr) return refuse(404, "not found", request.path);  // admitted, so never
  Call call{request, services_, match.parameters, request_id(request.headers),
            match.route->dialect};
  call.default_timeout_ms = request_ms_;
  Response response = run_route(*match.route, call);
  add_common_headers(request, call.id, response);
  const double ms = ms_since(request.received);
  if (match.route->work && response.status < 400) {
    admission_.learn(request.body.size(), call.report.stats.tokens);
  }
  write_down(call, *match.route, response, ms);
  return response;
}

Response App::refuse(int status, std::string_view message, std::string_view path) {
  return error_response(dialect_of(path), {status, "transport", std::string(message)});
}

void App::finished(const RequestHead& head, int status, size_t) {
  if (status != 499 || !log_.takes(LogLevel::kDebug)) return;
  log_.write(LogLevel::kDebug, "the client left before its answer",
             {{"path", std::string_view(head.path)}});
}

void App::add_common_headers(const RequestHead& head, const std::string& id,
                             Response& response) const {
  response.headers.add("x-request-id", id);
  if (cors_origins_.empty()) return;
  const std::string_view origin = head.headers.get("origin");
  const bool any = cors_origins_.front() == "*";
  if (origin.empty() || (!any && std::find(cors_origins_.begin(), cors_origins_.end(), origin) ==
                                     cors_origins_.end())) {
    return;
  }
  response.headers.add("access-control-allow-origin", any ? "*" : std::string(origin));
  response.headers.add("vary", "origin");
  if (head.method != "OPTIONS") return;
  response.headers.add("access-control-allow-methods", "GET, POST");
  response.headers.add("access-control-allow-headers", "authorization, content-type, x-api-key");
  response.headers.add("access-control-max-age", "600");
}

void App::write_down(const Call& call, const Route& route, const Response& response, double ms) {
  const CallReport& report = call.report;
  metrics_.finished(
      {route.path, route.work ? report.task : "", response.status, report.texts, report.stats, ms});
  const bool quiet = !route.work && response.status < 400;  // scrapes, probes, the page
  const LogLevel level = response.status >= 500 ? LogLevel::kWarning
                         : quiet                ? LogLevel::kDebug
                                                : LogLevel::kInfo;
  if (!log_requests_ || !log_.takes(level)) return;
  const RunStats& s = report.stats;
  log_.write(level, "request",
             {{"request_id", std::string_view(call.id)},
              {"trace_id", trace_of(call.request.headers)},
              {"peer", std::string_view(call.request.peer.address)},
              {"method", std::string_view(call.request.method)},
              {"path", std::string_view(call.request.path)},
              {"status", static_cast<int64_t>(response.status)},
              {"model", std::string_view(report.model)},
              {"texts", static_cast<int64_t>(report.texts)},
              {"tokens", static_cast<int64_t>(s.tokens)},
              {"truncated", static_cast<int64_t>(s.truncated)},
              {"tokenize_ms", s.tokenize_ms},
              {"queue_ms", s.queue_ms},
              {"inference_ms", s.inference_ms},
              {"total_ms", ms},
              {"error", std::string_view(report.error)}});
}

}  // namespace tamis::server
