#include "watch/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace tamis::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::map<std::string, std::string>;

constexpr double kFirstMs = 0.1, kStep = 1.1;

size_t latency_step(double ms) {
  if (!(ms > kFirstMs)) return 0;
  const auto step = static_cast<size_t>(std::ceil(std::log(ms / kFirstMs) / std::log(kStep)));
  return std::min(step, LastMinute::kSteps - 1);
}

int64_t second_of(LastMinute::Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

void LastMinute::add(Clock::time_point now, const FinishedRequest& request) {
  const int64_t second = second_of(now);
  const std::lock_guard lock(mutex_);
  Second& slot = ring_[static_cast<size_t>(second) % ring_.size()];
  if (slot.second != second) slot = Second{second};
  ++slot.requests;
  slot.texts += request.texts;
  slot.tokens += request.stats.tokens;
  ++slot.latencies[latency_step(request.total_ms)];
}

std::vector<LastMinute::Second> LastMinute::read(Clock::time_point now) const {
  const int64_t second = second_of(now);
  std::vector<Second> out;
  const std::lock_guard lock(mutex_);
  for (auto back = static_cast<int64_t>(kSeconds); back > 0; --back) {
    const Second& slot = ring_[static_cast<size_t>(second - back) % ring_.size()];
    out.push_back(slot.second == second - back ? slot : Second{second - back});
  }
  return out;
}

std::optional<double> percentile(const std::vector<LastMinute::Second>& seconds, double share) {
  uint64_t all = 0;
  for (const auto& s : seconds) all += s.requests;
  if (all == 0) return std::nullopt;
  const double wanted = share * static_cast<double>(all);
  uint64_t below = 0;
  for (size_t step = 0; step < seconds.front().latencies.size(); ++step) {
    for (const auto& s : seconds) below += s.latencies[step];
    if (static_cast<double>(below) >= wanted) {
      return kFirstMs * std::pow(kStep, static_cast<double>(step));
    }
  }
  return std::nullopt;
}

struct Metrics::Impl {
  prometheus::Registry registry;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  LastMinute minute;

  prometheus::Family<prometheus::Counter>& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Histogram& histogram(const char* name, const char* help,
                                   const prometheus::Histogram::BucketBoundaries& bounds) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, bounds);
  }

  /// TEI's: 1e-5 * 1.5^k seconds, k = 1 to 35.
  static prometheus::Histogram::BucketBoundaries seconds() {
    prometheus::Histogram::BucketBoundaries out;
    for (int k = 1; k <= 35; ++k) out.push_back(1e-5 * std::pow(1.5, k));
    return out;
  }
  static prometheus::Histogram::BucketBoundaries powers_of_two(int most) {
    prometheus::Histogram::BucketBoundaries out;
    for (int k = 0; k <= most; ++k) out.push_back(std::pow(2.0, k));
    return out;
  }

  prometheus::Family<prometheus::Counter>& request_count =
      counter("te_request_count", "Requests for a model, by method: single or batch");
  prometheus::Family<prometheus::Counter>& request_success =
      counter("te_request_success", "Those that were answered with 2xx");
  prometheus::Family<prometheus::Counter>& request_failure =
      counter("te_request_failure", "Those that were not, by what went wrong");
  prometheus::Family<prometheus::Counter>& embed_count =
      counter("te_embed_count", "Texts that were embedded");
  prometheus::Family<prometheus::Counter>& predict_count =
      counter("te_predict_count", "Pairs that were scored");
  prometheus::Family<prometheus::Counter>& http =
      counter("tamis_http_requests_total", "Requests by route and status");
  prometheus::Family<prometheus::Counter>& refusals =
      counter("tamis_refused_total", "Requests that were refused before any work, by reason");
  prometheus::Family<prometheus::Counter>& tokens =
      counter("tamis_tokens_total", "Tokens that went through a model");
  prometheus::Family<prometheus::Counter>& truncated =
      counter("tamis_truncated_total", "Texts that were cut to the length that a model takes");
  prometheus::Family<prometheus::Counter>& batches =
      counter("tamis_batches_total", "Batches that were run, by device");
  prometheus::Family<prometheus::Counter>& out_of_memory = counter(
      "tamis_out_of_memory_total", "Batches that were run again in smaller parts, by device");
  prometheus::Family<prometheus::Counter>& padding = counter(
      "tamis_padding_saved_tokens_total", "Padding that a padded batch would have computed");

  prometheus::Histogram& duration =
      histogram("te_request_duration", "Seconds from the first byte to the answer", seconds());
  prometheus::Histogram& tokenization =
      histogram("te_request_tokenization_duration", "Seconds of tokenising", seconds());
  prometheus::Histogram& queue =
      histogram("te_request_queue_duration", "Seconds until the first batch began", seconds());
  prometheus::Histogram& inference =
      histogram("te_request_inference_duration", "Seconds from there to the end", seconds());
  prometheus::Histogram& input_length =
      histogram("te_request_input_length", "Tokens of a request", powers_of_two(20));
  prometheus::Histogram& batch_size =
      histogram("te_batch_next_size", "Sequences of a batch", powers_of_two(12));
  prometheus::Histogram& batch_tokens =
      histogram("te_batch_next_tokens", "Tokens of a batch", powers_of_two(16));
  prometheus::Histogram& batch_calls =
      histogram("tamis_batch_requests", "Requests that shared a batch", powers_of_two(9));

  mutable std::mutex mutex;
  Totals totals;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

namespace {

std::string_view failure_of(int status) {
  if (status == 429 || status == 503) return "overloaded";
  if (status == 499 || status == 504) return "dropped";
  if (status == 413) return "batch_size";
  if (status == 424) return "model_type";
  return status < 500 ? "validation" : "inference";
}

}  // namespace

void Metrics::finished(const FinishedRequest& r) {
  Impl& m = *impl_;
  m.http.Add({{"route", std::string(r.route)}, {"status", fmt::format("{}", r.status)}})
      .Increment();
  {
    const std::lock_guard lock(m.mutex);
    ++m.totals.requests;
    m.totals.failed += r.status >= 400;
  }
  if (r.task.empty()) return;
  const Labels method = {{"method", r.texts == 1 ? "single" : "batch"}};
  m.request_count.Add(method).Increment();
  if (r.status < 400) {
    m.request_success.Add(method).Increment();
  } else {
    m.request_failure.Add({{"err", std::string(failure_of(r.status))}}).Increment();
    return;
  }
  m.minute.add(LastMinute::Clock::now(), r);
  (r.task == "rerank" ? m.predict_count : m.embed_count)
      .Add({})
      .Increment(static_cast<double>(r.texts));
  m.tokens.Add({{"task", std::string(r.task)}}).Increment(static_cast<double>(r.stats.tokens));
  m.truncated.Add({}).Increment(static_cast<double>(r.stats.truncated));
  m.duration.Observe(r.total_ms / 1000);
  m.tokenization.Observe(r.stats.tokenize_ms / 1000);
  m.queue.Observe(r.stats.queue_ms / 1000);
  m.inference.Observe(r.stats.inference_ms / 1000);
  m.input_length.Observe(static_cast<double>(r.stats.tokens));
}

void Metrics::refused(std::string_view why) {
  impl_->refusals.Add({{"reason", std::string(why)}}).Increment();
  const std::lock_guard lock(impl_->mutex);
  ++impl_->totals.refused;
}

void Metrics::batch(const BatchReport& b) {
  Impl& m = *impl_;
  const Labels device = {{"device", std::string(b.device)}};
  if (b.out_of_memory) {
    m.out_of_memory.Add(device).Increment();
    const std::lock_guard lock(m.mutex);
    ++m.totals.out_of_memory;
    return;
  }
  const size_t padded = b.sequences * b.longest;
  m.batches.Add(device).Increment();
  m.padding.Add({}).Increment(static_cast<double>(padded - b.tokens));
  m.batch_size.Observe(static_cast<double>(b.sequences));
  m.batch_tokens.Observe(static_cast<double>(b.tokens));
  m.batch_calls.Observe(static_cast<double>(b.calls));
  const std::lock_guard lock(m.mutex);
  ++m.totals.batches;
  m.totals.sequences += b.sequences;
  m.totals.tokens += b.tokens;
  m.totals.budget += std::max(b.budget, b.tokens);
  m.totals.padded += padded;
}

Metrics::Totals Metrics::totals() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->totals;
}

const LastMinute& Metrics::minute() const { return impl_->minute; }

double Metrics::uptime_s() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - impl_->started).count();
}

namespace {

/// Gauges that are read when somebody asks.
class Gauges {
 public:
  void add(const char* name, const char* help, const Labels& labels, double value) {
    MetricFamily& family = of(name, help);
    ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    metric.gauge.value = value;
    family.metric.push_back(std::move(metric));
  }
  std::vector<MetricFamily> take() { return std::move(families_); }

 private:
  MetricFamily& of(const char* name, const char* help) {
    for (MetricFamily& family : families_) {
      if (family.name == name) return family;
    }
    families_.push_back({name, help, MetricType::Gauge, {}});
    return families_.back();
  }
  std::vector<MetricFamily> families_;
};

void add_devices(const Devices& devices, Gauges& out) {
  for (const DeviceStatus& d : devices.status()) {
    if (!d.open && d.used_bytes == 0) continue;
    const Labels device = {{"device", d.name}};
    const auto bytes = [&](const char* name, const char* help, size_t value) {
      out.add(name, help, device, static_cast<double>(value));
    };
    bytes("tamis_device_memory_total_bytes", "Memory that the device has", d.total_bytes);
    bytes("tamis_device_memory_free_bytes", "Memory that is free on it", d.free_bytes);
    bytes("tamis_device_memory_used_bytes", "Memory that models use", d.used_bytes);
    bytes("tamis_device_memory_reserved_bytes", "Memory that their placements were planned with",
          d.reserved_bytes);
    bytes("tamis_device_memory_peak_bytes", "The most that models have used", d.peak_bytes);
    size_t limit = 0;
    for (const ModelMemory& m : d.models) limit += m.limit_bytes;
    bytes("tamis_device_memory_limit_bytes", "The most that models may use; 0 = no limit", limit);
    if (d.utilisation_percent >= 0) {
      out.add("tamis_device_utilisation_ratio", "How busy the device is", device,
              d.utilisation_percent / 100);
    }
  }
}

void add_models(const ModelSet& models, Gauges& out) {
  size_t waiting = 0;
  for (const auto& model : models.all()) {
    const ModelLoad load = model->place().load();
    waiting += load.calls;
    const Labels labels = {{"model", model->id()}};
    out.add("tamis_model_waiting_tokens", "Tokens that wait for the model", labels,
            static_cast<double>(load.waiting_tokens));
    out.add("tamis_model_running_batches", "Batches that run now", labels,
            static_cast<double>(load.running_batches));
    double serving = 0;
    for (const Placement& p : model->place().placement()) serving += !p.retired;
    out.add("tamis_model_replicas", "Replicas in service", labels, serving);
  }
  out.add("te_queue_size", "Requests that wait for a model, or run", {},
          static_cast<double>(waiting));
}

}  // namespace

std::string Metrics::prometheus(const Sources& sources) const {
  Gauges gauges;
  if (sources.devices != nullptr) add_devices(*sources.devices, gauges);
  if (sources.models != nullptr) add_models(*sources.models, gauges);
  if (const TransportCounters* t = sources.transport) {
    gauges.add("tamis_connections", "Connections that are open", {},
               static_cast<double>(t->connections_open));
    gauges.add("tamis_requests_running", "Requests that are being answered", {},
               static_cast<double>(t->requests_running));
    gauges.add("tamis_connections_refused", "Connections that were refused since the start", {},
               static_cast<double>(t->connections_refused));
    gauges.add("tamis_requests_malformed", "Requests that were no HTTP, or too large or too slow",
               {}, static_cast<double>(t->malformed));
    gauges.add("tamis_clients_gone", "Clients that left before their answer", {},
               static_cast<double>(t->clients_gone));
  }
  gauges.add("tamis_admitted_tokens", "Tokens of the requests that were let in, estimated", {},
             static_cast<double>(sources.waiting_tokens));
  gauges.add("tamis_admitted_tokens_limit", "The most of them", {},
             static_cast<double>(sources.most_tokens));
  gauges.add("tamis_ready", "1 when /health says 200", {}, sources.ready ? 1 : 0);
  std::vector<MetricFamily> all = impl_->registry.Collect();
  for (MetricFamily& family : gauges.take()) all.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace tamis::server
