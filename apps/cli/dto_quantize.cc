#include "dto.h"
#include "io/json_writer.h"

namespace tamis::cli {

void write_quantize_report(std::string& out, const QuantizeReport& r, JsonLayout layout) {
  io::JsonWriter json(out, layout == JsonLayout::kIndented ? 2 : 0);
  json.begin_object();
  json.key("directory").string(r.directory.string());
  json.key("source_bytes").unsigned_integer(r.source_bytes);
  json.key("bytes").unsigned_integer(r.bytes);
  json.key("calibration_sequences").unsigned_integer(r.calibration_sequences);
  json.key("calibration_tokens").unsigned_integer(r.calibration_tokens);
  json.key("outlier_columns").unsigned_integer(r.outlier_columns);
  json.key("left_alone").begin_array();
  for (const std::string& name : r.left_alone) json.string(name);
  json.end_array();
  json.key("requests").unsigned_integer(r.requests).key("pairs").unsigned_integer(r.pairs);
  json.key("kendall_tau").number(r.kendall).key("spearman").number(r.spearman);
  json.key("top1_agreement").number(r.top1).key("top10_overlap").number(r.top10);
  json.key("max_logit_change").number(r.max_delta);
  json.key("mean_logit_change").number(r.mean_delta);
  json.key("judged_requests").unsigned_integer(r.judged);
  if (r.judged > 0) {
    json.key("ndcg10_f32").number(r.ndcg10_f32).key("ndcg10_int8").number(r.ndcg10_int8);
  }
  json.end_object();
}

}  // namespace tamis::cli
