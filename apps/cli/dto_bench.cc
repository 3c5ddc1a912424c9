#include "dto.h"
#include "io/json_writer.h"

namespace tamis::cli {

void write_bench(std::string& out, const BenchReport& report, JsonLayout layout) {
  io::JsonWriter json(out, layout == JsonLayout::kIndented ? 2 : 0);
  json.begin_object();
  json.key("tamis").string(version());
  json.key("model").string(report.model.directory.string());
  json.key("parameters").integer(report.model.parameters);
  json.key("cpu").string(report.cpu).key("isa").string(report.isa);
  json.key("cores").integer(report.cores);
  json.key("rows").begin_array();
  for (const BenchRow& row : report.rows) {
    const BenchPlace& place = report.places[row.place];
    json.begin_object();
    json.key("dtype").string(place.dtype).key("threads").integer(place.threads);
    json.key("work").string(row.work);
    json.key("sequences").unsigned_integer(row.sequences);
    json.key("tokens").unsigned_integer(row.tokens);
    json.key("times").unsigned_integer(row.times);
    json.key("best_ms").number(row.best_ms).key("median_ms").number(row.median_ms);
    json.key("worst_ms").number(row.worst_ms);
    json.key("sequences_per_s").number(row.sequences_per_s);
    json.key("tokens_per_s").number(row.tokens_per_s);
    json.key("operations_per_s").number(row.operations_per_s);
    json.key("peak_operations_per_s").number(place.peak);
    json.key("share_of_peak").number(row.share_of_peak);
    json.key("load_ms").number(place.load_ms);
    json.key("weight_bytes").unsigned_integer(place.weight_bytes);
    json.key("workspace_bytes").unsigned_integer(place.workspace_bytes);
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

}  // namespace tamis::cli
