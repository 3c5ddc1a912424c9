#pragma once

// `tamis serve` without its arguments and signals: loads, listens, warms up, reloads, drains.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/settings.h"

namespace tamis::server {

class Service {
 public:
  /// Listens, and answers 503 until start is done. Errors: those of HttpServer, Log and Devices.
  explicit Service(const Settings& settings);
  /// As stop(0).
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// Loads the models and warms them up; then /health says 200.
  /// Errors: those of ServedModel::load; invalid_argument (no model).
  void start();
  /// "http://127.0.0.1:8080", "unix:/run/tamis.sock": where it listens, the admin socket last.
  std::vector<std::string> addresses() const;

  /// Applies what may change while it runs (Setting::reloads): keys, limits, log level, TLS files,
  /// the list of models. Models that are new or whose settings changed are loaded, others go. What
  /// fails is logged, and the old stays. Opens the log file anew. Returns what went wrong.
  std::vector<std::string> reload(const Settings& settings);

  /// Takes no more work, answers what was begun, for at most settings.drain_ms; true: all was.
  bool drain();
  /// Ends the time of a drain in progress. Does not wait.
  void cut();
  /// Cuts what is left.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What `tamis serve --check` prints: the settings that differ from the defaults, each model with
/// its memory plan, and whether it fits; secrets are not shown. Errors: those of describe_model.
std::string explain(const Settings& settings);

/// Runs until SIGTERM or SIGINT (drains; a second one cuts), and reloads at SIGHUP, for which
/// `settings` is asked again. `say` gets a line when it is ready. Returns the exit status: 0, or 75
/// if requests had to be cut; where one does not end 10 s after it was cut, for its device hangs,
/// the process ends here, with 75, and so it does, with 0, where the signal comes while models are
/// loading. Blocks these signals in every thread of the process. Errors:
/// those of Service.
int run_service(const std::function<Settings()>& settings,
                const std::function<void(const std::string&)>& say);

}  // namespace tamis::server
