// The JSON of `tamis devices`, `tamis doctor` and `tamis selftest`.

#include <algorithm>
#include <cmath>

#include "dto.h"
#include "io/json_writer.h"

namespace tamis::cli {
namespace {

using io::JsonWriter;

JsonWriter writer(std::string& out, JsonLayout layout) {
  return JsonWriter(out, layout == JsonLayout::kIndented ? 2 : 0);
}

void write_number_or_null(JsonWriter& json, std::string_view key, double value, bool known) {
  json.key(key);
  if (known) {
    json.number(std::round(value * 10) / 10);
  } else {
    json.null();
  }
}

void write_model(JsonWriter& json, const ModelMemory& model) {
  json.begin_object().key("model").string(model.model);
  json.key("weight_bytes").unsigned_integer(model.weight_bytes);
  json.key("workspace_bytes").unsigned_integer(model.workspace_bytes);
  json.key("reserved_bytes").unsigned_integer(model.reserved_bytes);
  json.key("peak_bytes").unsigned_integer(model.peak_bytes);
  json.key("limit_bytes");
  if (model.limit_bytes > 0) {
    json.unsigned_integer(model.limit_bytes);
  } else {
    json.null();
  }
  json.end_object();
}

void write_device(JsonWriter& json, const DeviceStatus& device) {
  json.begin_object().key("name").string(device.name).key("kind").string(device.kind);
  json.key("description").string(device.description);
  json.key("usable").boolean(device.usable).key("problem").string(device.problem);
  json.key("open").boolean(device.open);
  json.key("total_bytes").unsigned_integer(device.total_bytes);
  json.key("free_bytes").unsigned_integer(device.free_bytes);
  json.key("used_bytes").unsigned_integer(device.used_bytes);
  json.key("reserved_bytes").unsigned_integer(device.reserved_bytes);
  json.key("peak_bytes").unsigned_integer(device.peak_bytes);
  json.key("other_bytes").unsigned_integer(device.other_bytes);
  write_number_or_null(json, "utilisation_percent", device.utilisation_percent,
                       device.utilisation_percent >= 0);
  json.key("models").begin_array();
  for (const ModelMemory& model : device.models) write_model(json, model);
  json.end_array().key("processes").begin_array();
  for (const DeviceProcess& process : device.processes) {
    json.begin_object().key("pid").integer(process.pid);
    json.key("bytes").unsigned_integer(process.bytes).key("name").string(process.name).end_object();
  }
  json.end_array().end_object();
}

void write_placement(JsonWriter& json, const Placement& placement) {
  json.begin_object().key("device").string(placement.device);
  json.key("description").string(placement.description).key("dtype").string(placement.dtype);
  json.key("threads").integer(placement.threads);
  json.key("weight_bytes").unsigned_integer(placement.weight_bytes);
  json.key("workspace_bytes").unsigned_integer(placement.workspace_bytes);
  json.key("batch_tokens").unsigned_integer(placement.batch_tokens);
  json.key("on_device").boolean(placement.on_device);
  json.key("shares_weights").boolean(placement.shares_weights);
  json.key("retired").boolean(placement.retired).key("error").string(placement.error);
  json.key("out_of_memory").unsigned_integer(placement.out_of_memory).end_object();
}

}  // namespace

void write_devices(std::string& out, std::span<const DeviceStatus> devices, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object().key("devices").begin_array();
  for (const DeviceStatus& device : devices) write_device(json, device);
  json.end_array().end_object();
}

void write_report(std::string& out, const DoctorReport& report, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  const auto count = [&](Severity severity) {
    return std::count_if(report.findings.begin(), report.findings.end(),
                         [&](const Finding& finding) { return finding.severity == severity; });
  };
  json.begin_object();
  json.key("problems").integer(count(Severity::kProblem));
  json.key("warnings").integer(count(Severity::kWarning));
  json.key("findings").begin_array();
  for (const Finding& finding : report.findings) {
    json.begin_object().key("id").string(finding.id);
    json.key("severity").string(name_of(finding.severity));
    json.key("title").string(finding.title).key("what").string(finding.what);
    json.key("fix").string(finding.fix).end_object();
  }
  json.end_array().key("placement").begin_array();
  for (const Placement& placement : report.placement) write_placement(json, placement);
  json.end_array().end_object();
}

void write_selftest(std::string& out, const SelftestReport& report, JsonLayout layout) {
  JsonWriter json = writer(out, layout);
  json.begin_object().key("version").string(version());
  json.key("device").string(report.device).key("description").string(report.description);
  json.key("passed").boolean(report.passed()).key("advice").string(report.advice);
  json.key("checks").begin_array();
  for (const SelftestCheck& check : report.checks) {
    json.begin_object().key("name").string(check.name).key("passed").boolean(check.passed);
    json.key("error");
    if (std::isfinite(check.error)) {
      json.number(check.error);
    } else {
      json.null();
    }
    json.key("tolerance").number(check.tolerance);
    json.key("problem").string(check.problem).end_object();
  }
  json.end_array().key("timings").begin_array();
  for (const SelftestTiming& timing : report.timings) {
    json.begin_object().key("name").string(timing.name);
    json.key("milliseconds").number(timing.milliseconds);
    json.key("gflops").number(timing.gflops).end_object();
  }
  json.end_array().end_object();
}

}  // namespace tamis::cli
