#include "service.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <utility>

#include "app.h"
#include "base/byte_size.h"
#include "base/fail.h"

namespace tamis::server {
namespace {

std::vector<Listener> listeners_of(const Settings& s) {
  Listener main;
  main.host = s.host;
  main.port = s.port;
  main.unix_socket = s.unix_socket;
  main.unix_mode = s.unix_mode;
  if (!s.tls.certificate.empty()) main.tls = s.tls;
  std::vector<Listener> out = {main};
  if (!s.admin_socket.empty()) {
    Listener admin;
    admin.unix_socket = s.admin_socket;
    admin.unix_mode = 0600;
    out.push_back(admin);
  }
  return out;
}

ServerOptions server_options(const Settings& s) {
  ServerOptions out;
  out.listeners = listeners_of(s);
  out.limits = s.limits;
  out.io_threads = s.io_threads;
  out.workers = s.max_requests;
  return out;
}

std::shared_ptr<Devices> make_devices(const Settings& s) {
  DevicesOptions out;
  out.sims = s.sims;
  out.cuda_options = s.cuda;
  out.cuda_plugin = s.cuda_plugin;
  return std::make_shared<Devices>(out);
}

bool same(const ModelSource& a, const ModelSource& b) {
  const auto key = [](const ModelSource& m) {
    const LoadOptions& o = m.options;
    return std::tuple(m.directory, m.aliases, m.max_length, o.device, o.dtype, o.threads, o.isa,
                      o.memory_limit_bytes, o.batch_tokens, o.cache_directory);
  };
  return key(a) == key(b);
}

std::string id_of(const ModelSource& source) {
  return source.id.empty() ? std::filesystem::path(source.directory).filename().string()
                           : source.id;
}

void require_distinct(const std::vector<ModelSource>& models) {
  for (size_t i = 0; i < models.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (id_of(models[i]) != id_of(models[j])) continue;
      fail(ErrorCode::kInvalidArgument,
           "two models are called '{}' ({} and {}); give them names: --model NAME=DIR",
           id_of(models[i]), models[j].directory.string(), models[i].directory.string());
    }
  }
}

}  // namespace

struct Service::Impl {
  explicit Impl(const Settings& s)
      : settings(s),
        log(s.log_level, s.log_format, s.log_file),
        devices(make_devices(s)),
        app(s, shared_options(s.load, "model"), models, *devices, metrics, log),
        http(std::make_unique<HttpServer>(server_options(s), app)) {
    app.set_transport(&http->counters());
  }

  /// With what every model of this server shares.
  LoadOptions shared_options(LoadOptions options, const std::string& name) {
    options.devices = devices;
    options.log = log.sink(name);
    options.on_batch = [this](const BatchReport& report) { app.batch(report); };
    return options;
  }
  ModelSource complete(ModelSource source) {
    source.options = shared_options(source.options, id_of(source));
    return source;
  }

  void load(const ModelSource& source) {
    const auto model = models.load(complete(source));
    const MemoryPlan plan = model->reranker() != nullptr ? model->reranker()->memory_plan()
                                                         : model->embedder()->memory_plan();
    log.write(LogLevel::kInfo, "loaded",
              {{"model", std::string_view(model->id())},
               {"device", std::string_view(plan.device)},
               {"dtype", std::string_view(model->dtype())},
               {"weights", std::string_view(format_bytes(plan.weight_bytes))},
               {"workspace", std::string_view(format_bytes(plan.workspace_bytes))}});
    warm_up(*model);
  }

  void warm_up(const ServedModel& model) {
    if (settings.warmup_ms == 0) return;
    WarmupOptions options;
    options.limit_ms = settings.warmup_ms;
    for (const WarmupResult& r : model.place().warmup(options)) {
      if (r.error.empty() && !r.skipped) continue;
      log.write(LogLevel::kWarning, r.skipped ? "warm-up: the time was up" : "warm-up failed",
                {{"model", std::string_view(model.id())},
                 {"device", std::string_view(r.device)},
                 {"error", std::string_view(r.error)}});
    }
  }

  /// One of the service's models is no longer wanted.
  void unload(const std::string& id) {
    models.unload(id);
    log.write(LogLevel::kInfo, "unloaded", {{"model", std::string_view(id)}});
  }

  Settings settings;
  Log log;
  std::shared_ptr<Devices> devices;
  Metrics metrics;
  // Requests use the models and the models report to the app, so that the order of these three
  // matters: the server goes first, then the models, then what they report to.
  ModelSet models;
  App app;
  std::unique_ptr<HttpServer> http;
  std::mutex reloading;
};

Service::Service(const Settings& settings) : impl_(std::make_unique<Impl>(settings)) {}

Service::~Service() {
  stop();
  // Models report their batches to the app until they are gone.
  for (const auto& model : impl_->models.all()) impl_->models.unload(model->id());
}

void Service::start() {
  Impl& s = *impl_;
  if (s.settings.models.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "no model to serve: give --model DIR, or [[model]] in the file of settings");
  }
  require_distinct(s.settings.models);
  for (const ModelSource& source : s.settings.models) s.load(source);
  s.app.set_ready(true);
  for (const std::string& address : addresses()) {
    s.log.write(LogLevel::kInfo, "listening", {{"address", std::string_view(address)}});
  }
}

std::vector<std::string> Service::addresses() const {
  const std::vector<uint16_t> ports = impl_->http->ports();
  const std::vector<Listener> listeners = listeners_of(impl_->settings);
  std::vector<std::string> out;
  for (size_t i = 0; i < listeners.size(); ++i) {
    const Listener& l = listeners[i];
    if (!l.unix_socket.empty()) {
      out.push_back("unix:" + l.unix_socket.string());
      continue;
    }
    const bool v6 = l.host.find(':') != std::string::npos;
    out.push_back(fmt::format("{}://{}:{}", l.tls ? "https" : "http",
                              v6 ? "[" + l.host + "]" : l.host, ports.at(i)));
  }
  return out;
}

std::vector<std::string> Service::reload(const Settings& next) {
  Impl& s = *impl_;
  const std::lock_guard turn(s.reloading);
  std::vector<std::string> wrong;
  const auto attempt = [&](std::string_view what, const auto& action) {
    try {
      action();
    } catch (const std::exception& e) {
      wrong.push_back(fmt::format("{}: {}", what, e.what()));
      s.log.write(LogLevel::kError, wrong.back());
    }
  };
  attempt("models", [&] { require_distinct(next.models); });
  if (!wrong.empty()) return wrong;
  attempt("log-file", [&] { s.log.reopen(); });
  s.log.set_level(next.log_level);
  s.app.apply(next);
  if (!s.settings.tls.certificate.empty()) attempt("tls", [&] { s.http->reload_tls(); });
  const auto find = [](const std::vector<ModelSource>& in, const ModelSource& model) {
    return std::find_if(in.begin(), in.end(),
                        [&](const auto& other) { return id_of(other) == id_of(model); });
  };
  std::vector<ModelSource> now;
  for (const ModelSource& source : next.models) {
    const auto old = find(s.settings.models, source);
    const bool kept = old != s.settings.models.end() && same(*old, source);
    const size_t before = wrong.size();
    if (!kept) attempt("model " + id_of(source), [&] { s.load(source); });
    // One that failed to load is tried again by the next reload.
    if (wrong.size() == before)
      now.push_back(source);
    else if (old != s.settings.models.end())
      now.push_back(*old);
  }
  for (const ModelSource& old : s.settings.models) {
    if (find(next.models, old) != next.models.end()) continue;
    attempt("model " + id_of(old), [&] { s.unload(id_of(old)); });
  }
  s.settings.models = std::move(now);
  s.log.write(LogLevel::kInfo, "reloaded", {{"failed", static_cast<int64_t>(wrong.size())}});
  return wrong;
}

bool Service::drain() {
  Impl& s = *impl_;
  s.app.set_draining();
  s.log.write(LogLevel::kInfo, "stopping: what was begun is answered");
  const bool all = s.http->stop(s.settings.drain_ms);
  s.log.write(all ? LogLevel::kInfo : LogLevel::kWarning,
              all ? "stopped" : "stopped: requests were cut, for their time was over");
  return all;
}

void Service::cut() { impl_->http->cut(0); }

void Service::stop() { impl_->http->stop(0); }

namespace {

std::string explain_model(const ModelSource& source, const std::shared_ptr<Devices>& devices) {
  LoadOptions options = source.options;
  options.devices = devices;
  const ModelDescription d = describe_model(source.directory, options);
  std::string out = fmt::format(
      "model {}: {}\n  {}, {} parameters, inputs of at most {} tokens, weights in {}\n",
      id_of(source), source.directory.string(), d.info.architecture, d.info.parameters,
      source.max_length > 0 ? std::min(source.max_length, d.info.max_length) : d.info.max_length,
      d.dtype);
  for (const MemoryPlan& plan : d.plans) {
    const size_t needed = plan.weight_bytes + plan.workspace_bytes;
    out += fmt::format(
        "  {}: weights {}, workspace {} for batches of {} tokens; {} are free: {}\n", plan.device,
        format_bytes(plan.weight_bytes), format_bytes(plan.workspace_bytes), plan.batch_tokens,
        format_bytes(plan.free_bytes), needed <= plan.free_bytes ? "fits" : "DOES NOT FIT");
  }
  return out;
}

}  // namespace

std::string explain(const Settings& s) {
  std::string out;
  for (const Listener& l : listeners_of(s)) {
    out += l.unix_socket.empty()
               ? fmt::format("listens on {} port {}{}\n", l.host, l.port, l.tls ? ", with TLS" : "")
               : fmt::format("listens on the socket {}\n", l.unix_socket.string());
  }
  out += fmt::format("keys: {} for the models, {} for the operator\n",
                     s.api_keys.empty() ? "none needed" : fmt::format("{}", s.api_keys.size()),
                     s.admin_keys.empty() ? "none" : fmt::format("{}", s.admin_keys.size()));
  if (s.api_keys.empty() && s.unix_socket.empty() && s.host != "127.0.0.1" && s.host != "::1" &&
      s.host != "localhost") {
    out += "  NOTE: whoever reaches this address may use the models; set api-key-file\n";
  }
  require_distinct(s.models);
  const auto devices = make_devices(s);
  for (const ModelSource& model : s.models) out += explain_model(model, devices);
  if (s.models.empty()) out += "NO MODEL: give --model DIR, or [[model]] in the file\n";
  return out;
}

namespace {

sigset_t service_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

/// What a request has to end in once it was asked to: batches heed that between two of them.
constexpr std::chrono::seconds kRequestsEnd{10};
constexpr int kWorkLost = 75;  // EX_TEMPFAIL

/// Answers what was begun, and cuts it when another signal to end comes meanwhile. False: something
/// was cut. Does not return where a request never ends, for its device hangs: a supervisor that
/// asked for the end shall get it.
bool drain_or_cut(Service& service, int drain_ms, const sigset_t& signals,
                  const std::function<void(const std::string&)>& say) {
  using Clock = std::chrono::steady_clock;
  std::atomic<bool> over{false};
  bool all = false;
  std::thread draining([&] {
    all = service.drain();
    over = true;
  });
  Clock::time_point patience = Clock::now() + std::chrono::milliseconds(drain_ms) + kRequestsEnd;
  const timespec tick{0, 50'000'000};
  while (!over) {
    const int signal = sigtimedwait(&signals, nullptr, &tick);
    if (signal == SIGTERM || signal == SIGINT) {
      service.cut();
      patience = std::min(patience, Clock::now() + kRequestsEnd);
    }
    if (!over && Clock::now() > patience) {
      say("a request was asked to end and does not; the process ends without it");
      std::_Exit(kWorkLost);
    }
  }
  draining.join();
  return all;
}

/// Loads the models. A load cannot be stopped in its middle, so that a signal to end ends the
/// process here, once what the models that are there have begun is answered. True: a reload was
/// asked for.
bool start_or_end(Service& service, int drain_ms, const sigset_t& signals,
                  const std::function<void(const std::string&)>& say) {
  bool reload = false;
  auto started = std::async(std::launch::async, [&] { service.start(); });
  const timespec tick{0, 5'000'000};
  while (started.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    const int signal = sigtimedwait(&signals, nullptr, &tick);
    if (signal == SIGTERM || signal == SIGINT) {
      const bool all = drain_or_cut(service, drain_ms, signals, say);
      say("asked to end while models are loading; the process ends without them");
      std::_Exit(all ? 0 : kWorkLost);
    }
    reload |= signal == SIGHUP;
  }
  started.get();
  return reload;
}

}  // namespace

int run_service(const std::function<Settings()>& settings,
                const std::function<void(const std::string&)>& say) {
  const sigset_t signals = service_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread from here on
  const Settings first = settings();
  Service service(first);
  int signal = start_or_end(service, first.drain_ms, signals, say) ? SIGHUP : 0;
  say("ready: " + fmt::format("{}", fmt::join(service.addresses(), ", ")));
  for (;; signal = 0) {
    if (signal == 0) sigwait(&signals, &signal);
    if (signal != SIGHUP) {
      return drain_or_cut(service, first.drain_ms, signals, say) ? 0 : kWorkLost;
    }
    try {
      service.reload(settings());
    } catch (const Error& e) {
      say(fmt::format("not reloaded: {}", e.what()));  // the old settings stay
    }
  }
}

}  // namespace tamis::server
