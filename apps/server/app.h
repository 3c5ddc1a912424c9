#pragma once

// From a request to its answer: keys, limits, the route, and what is written down of it.

#include <atomic>
#include <memory>
#include <string>

#include "config/settings.h"
#include "routes/call.h"
#include "routes/router.h"
#include "service/admission.h"
#include "service/keys.h"
#include "service/model_set.h"
#include "transport/server.h"
#include "watch/log.h"
#include "watch/metrics.h"

namespace tamis::server {

/// Thread rule: any thread.
class App final : public Handler {
 public:
  /// The last four must outlive it. `load_options` are those of models that requests load.
  App(const Settings& settings, const LoadOptions& load_options, ModelSet& models,
      const Devices& devices, Metrics& metrics, Log& log);

  Admission admit(const RequestHead& head) override;
  Response answer(Request request) override;
  Response refuse(int status, std::string_view message, std::string_view path) override;
  void finished(const RequestHead& head, int status, size_t bytes) override;

  /// /health says 200 from when it is ready until it drains.
  void set_ready(bool ready) { ready_ = ready; }
  void set_draining() { draining_ = true; }
  void set_transport(const TransportCounters* counters) { transport_ = counters; }
  /// What a reload may change: keys, limits of work, rates, the deadline, whether to log requests.
  void apply(const Settings& settings);
  /// A batch was run: how fast the models are decides how much work is let in.
  void batch(const BatchReport& report);

 private:
  enum class Access { kNone, kUser, kAdmin };
  Access access_of(const RequestHead& head) const;
  std::optional<HttpError> refusal_of_key(const RequestHead& head, const Route& route) const;
  Admission refused(const RequestHead& head, Dialect dialect, const HttpError& error,
                    std::string_view why);
  void add_common_headers(const RequestHead& head, const std::string& id, Response& response) const;
  void write_down(const Call& call, const Route& route, const Response& response, double ms);
  Sources sources() const;

  ModelSet& models_;
  const Devices& devices_;
  Metrics& metrics_;
  Log& log_;
  Router router_;
  Services services_;
  WorkAdmission admission_;
  AddressRates rates_;
  Keys keys_, admin_keys_;
  std::vector<std::string> cors_origins_;
  bool admin_listener_;  ///< the last listener is the admin socket
  size_t listeners_;
  std::atomic<bool> ready_{false}, draining_{false}, log_requests_{true};
  std::atomic<int> request_ms_{0};
  std::atomic<const TransportCounters*> transport_{nullptr};

  std::mutex speed_mutex_;
  double recent_tokens_ = 0, recent_ms_ = 0;
};

}  // namespace tamis::server
