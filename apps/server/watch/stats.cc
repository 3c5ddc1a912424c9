// GET /v1/stats: the numbers behind the page.

#include <algorithm>

#include "io/json_writer.h"
#include "watch/metrics.h"

namespace tamis::server {
namespace {

using io::JsonWriter;
using Seconds = std::vector<LastMinute::Second>;

double share(uint64_t part, uint64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

void maybe(JsonWriter& w, std::optional<double> value) { value ? w.number(*value) : w.null(); }

void write_model(JsonWriter& w, const ServedModel& model) {
  const ModelLoad load = model.place().load();
  w.begin_object().key("id").string(model.id());
  w.key("architecture").string(model.info().architecture);
  w.key("kind").string(model.embedder() != nullptr ? "embedder" : "cross-encoder");
  w.key("dtype").string(model.dtype()).key("device").string(model.place().device());
  w.key("load").begin_object();
  w.key("calls").unsigned_integer(load.calls);
  w.key("waiting_tokens").unsigned_integer(load.waiting_tokens);
  w.key("running_batches").unsigned_integer(load.running_batches).end_object();
  w.key("replicas").begin_array();
  for (const Placement& p : model.place().placement()) {
    w.begin_object().key("device").string(p.device).key("dtype").string(p.dtype);
    w.key("threads").integer(p.threads);
    w.key("weight_bytes").unsigned_integer(p.weight_bytes);
    w.key("workspace_bytes").unsigned_integer(p.workspace_bytes);
    w.key("batches").unsigned_integer(p.batches).key("tokens").unsigned_integer(p.tokens);
    w.key("busy_ms").number(p.busy_ms).key("out_of_memory").unsigned_integer(p.out_of_memory);
    w.key("retired").boolean(p.retired).key("error").string(p.error).end_object();
  }
  w.end_array().end_object();
}

void write_device(JsonWriter& w, const DeviceStatus& d) {
  size_t limit = 0;
  for (const ModelMemory& m : d.models) limit += m.limit_bytes;
  w.begin_object().key("name").string(d.name).key("kind").string(d.kind);
  w.key("description").string(d.description);
  w.key("total_bytes").unsigned_integer(d.total_bytes);
  w.key("free_bytes").unsigned_integer(d.free_bytes);
  w.key("used_bytes").unsigned_integer(d.used_bytes);
  w.key("reserved_bytes").unsigned_integer(d.reserved_bytes);
  w.key("peak_bytes").unsigned_integer(d.peak_bytes);
  w.key("limit_bytes").unsigned_integer(limit);
  w.key("utilisation_percent");
  maybe(w, d.utilisation_percent >= 0 ? std::optional(d.utilisation_percent) : std::nullopt);
  w.end_object();
}

void write_series(JsonWriter& w, const Seconds& minute) {
  const auto each = [&](const char* name, const auto& write) {
    w.key(name).begin_array();
    for (const auto& second : minute) write(second);
    w.end_array();
  };
  w.key("series").begin_object().key("step_s").integer(1);
  each("requests", [&](const auto& s) { w.unsigned_integer(s.requests); });
  each("tokens", [&](const auto& s) { w.unsigned_integer(s.tokens); });
  each("p50_ms", [&](const auto& s) { maybe(w, percentile({s}, 0.5)); });
  each("p99_ms", [&](const auto& s) { maybe(w, percentile({s}, 0.99)); });
  w.end_object();
}

/// Of the last ten seconds, so that what it shows is now.
void write_rates(JsonWriter& w, const Seconds& minute) {
  constexpr size_t kLast = 10;
  uint64_t requests = 0, texts = 0, tokens = 0;
  for (size_t i = minute.size() - kLast; i < minute.size(); ++i) {
    requests += minute[i].requests;
    texts += minute[i].texts;
    tokens += minute[i].tokens;
  }
  w.key("rates").begin_object();
  w.key("requests_per_s").number(share(requests, kLast));
  w.key("texts_per_s").number(share(texts, kLast));
  w.key("tokens_per_s").number(share(tokens, kLast)).end_object();
}

}  // namespace

std::string stats_json(const Metrics& metrics, const Sources& sources) {
  const Metrics::Totals totals = metrics.totals();
  const Seconds minute = metrics.minute().read(LastMinute::Clock::now());
  uint64_t in_minute = 0;
  for (const auto& second : minute) in_minute += second.requests;
  std::string out;
  JsonWriter w(out);
  w.begin_object().key("server").begin_object();
  w.key("version").string(version()).key("uptime_s").number(metrics.uptime_s());
  w.key("ready").boolean(sources.ready).key("draining").boolean(sources.draining).end_object();
  w.key("requests").begin_object().key("total").unsigned_integer(totals.requests);
  w.key("failed").unsigned_integer(totals.failed).key("refused").unsigned_integer(totals.refused);
  w.key("running").unsigned_integer(
      sources.transport != nullptr ? sources.transport->requests_running.load() : 0);
  w.end_object();
  write_rates(w, minute);
  w.key("latency_ms").begin_object();
  for (const auto& [name, at] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}) {
    w.key(name);
    maybe(w, percentile(minute, at));
  }
  w.key("count").unsigned_integer(in_minute).end_object();
  w.key("queue").begin_object().key("tokens").unsigned_integer(sources.waiting_tokens);
  w.key("limit_tokens").unsigned_integer(sources.most_tokens).end_object();
  w.key("batches").begin_object().key("count").unsigned_integer(totals.batches);
  w.key("sequences_mean").number(share(totals.sequences, totals.batches));
  w.key("tokens_mean").number(share(totals.tokens, totals.batches));
  w.key("fill").number(share(totals.tokens, totals.budget));
  w.key("padding_saved").number(totals.padded > 0 ? 1 - share(totals.tokens, totals.padded) : 0.0);
  w.key("out_of_memory").unsigned_integer(totals.out_of_memory).end_object();
  w.key("models").begin_array();
  if (sources.models != nullptr) {
    for (const auto& model : sources.models->all()) write_model(w, *model);
  }
  w.end_array().key("devices").begin_array();
  if (sources.devices != nullptr) {
    for (const DeviceStatus& d : sources.devices->status()) {
      if (d.open || d.used_bytes > 0) write_device(w, d);
    }
  }
  w.end_array();
  write_series(w, minute);
  w.end_object();
  return out;
}

}  // namespace tamis::server
