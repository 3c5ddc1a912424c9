#include "tamis/quantize.h"

#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "engine/ranking_report.h"
#include "model/calibration.h"
#include "model/int8_writer.h"
#include "tamis/model_inputs.h"
#include "tamis/reranker.h"
#include "tamis/session.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

size_t weight_file_bytes(const fs::path& directory) {
  size_t out = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const auto ext = entry.path().extension();
    if (entry.is_regular_file() && (ext == ".safetensors" || ext == ".bin")) {
      out += entry.file_size();
    }
  }
  return out;
}

/// Logits (of an embedder: cosines) of every passage, in the order of the requests.
std::vector<std::vector<float>> score(const fs::path& directory, const QuantizeOptions& options,
                                      const std::vector<QuantizeRequest>& requests,
                                      std::string dtype) {
  LoadOptions load = options.load;
  load.dtype = std::move(dtype);
  load.device = "cpu";
  const Reranker reranker = Reranker::load(directory, load);
  std::vector<RerankRequest> views;
  for (const QuantizeRequest& r : requests) {
    views.push_back({r.query, {r.passages.begin(), r.passages.end()}});
  }
  RerankOptions how;
  how.max_length = options.max_length;
  std::vector<std::vector<float>> out;
  for (const auto& results : reranker.rerank(views, how)) {
    auto& scores = out.emplace_back(results.size());
    for (const RerankResult& r : results) scores[r.index] = r.logit;
  }
  return out;
}

void compare(const fs::path& directory, const QuantizeOptions& options, QuantizeReport& report,
             const std::function<void(const std::string&)>& say) {
  const auto& requests = options.evaluation.empty() ? options.calibration : options.evaluation;
  say("scoring in f32");
  const auto f32 = score(directory, options, requests, "f32");
  say("scoring in int8");
  const auto int8 = score(report.directory, options, requests, "int8");
  std::vector<ScoredRequest> scored;
  for (size_t i = 0; i < requests.size(); ++i) {
    scored.push_back({f32[i], int8[i], requests[i].relevance});
  }
  const RankingReport r = compare_rankings(scored);
  report.requests = r.requests;
  report.pairs = r.pairs;
  report.kendall = r.kendall;
  report.spearman = r.spearman;
  report.top1 = r.top1;
  report.top10 = r.top10;
  report.max_delta = r.max_delta;
  report.mean_delta = r.mean_delta;
  report.judged = r.judged;
  report.ndcg10_f32 = r.ndcg10_reference;
  report.ndcg10_int8 = r.ndcg10_other;
}

void check(const std::vector<QuantizeRequest>& requests, std::string_view what) {
  for (size_t i = 0; i < requests.size(); ++i) {
    const QuantizeRequest& r = requests[i];
    if (r.passages.empty()) {
      fail(ErrorCode::kInvalidArgument, "{} request {}: no passages", what, i);
    }
    if (!r.relevance.empty() && r.relevance.size() != r.passages.size()) {
      fail(ErrorCode::kInvalidArgument,
           "{} request {}: expected as many values of relevance as passages, {}, got {}", what, i,
           r.passages.size(), r.relevance.size());
    }
  }
}

}  // namespace

QuantizeReport quantize(const fs::path& directory, const fs::path& out,
                        const QuantizeOptions& options) {
  if (options.calibration.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "no calibration requests: expected at least one query with "
         "passages, like those that the model will read");
  }
  check(options.calibration, "calibration");
  check(options.evaluation, "evaluation");
  const auto say = [&](const std::string& stage) {
    if (options.stage) options.stage(stage);
  };
  const ModelSpec spec = read_spec(directory, options.load);
  const auto model = HostModel::open(spec, options.load.log);
  const auto tokenizer = text::Tokenizer::load(directory, options.load.log);
  const size_t max_length = std::min(options.max_length, spec.max_length);
  ModelInputs inputs(*tokenizer, spec.kind == ModelKind::kCrossEncoder, max_length);
  for (const QuantizeRequest& r : options.calibration) {
    inputs.add(r.query, r.passages, options.calibration_tokens);
  }

  say("calibrating");
  const auto cpu = device_set(options.load)->open({"cpu", -1}, options.load.isa);
  const auto account = cpu->open_account("calibration", MemoryAccount::no_limit);
  StreamOptions stream;
  stream.threads = options.load.threads;
  const std::vector<SequenceView> views = inputs.views();
  const ModelQuantization quantization =
      calibrate(model, cpu, stream, account, pack(views, longest_first(views), spec.positions),
                std::chrono::milliseconds(options.load.device_timeout_ms));
  say("writing");
  Int8Manifest manifest;
  manifest.tamis_version = version();
  manifest.calibration_sequences = inputs.sequences();
  manifest.calibration_tokens = inputs.tokens();
  write_int8_model(*model, quantization, out, manifest);

  QuantizeReport report;
  report.directory = out;
  report.source_bytes = weight_file_bytes(directory);
  report.bytes = weight_file_bytes(out);
  report.calibration_sequences = manifest.calibration_sequences;
  report.calibration_tokens = manifest.calibration_tokens;
  report.outlier_columns = manifest.outlier_columns;
  report.left_alone = manifest.left_alone;
  compare(directory, options, report, say);
  return report;
}

}  // namespace tamis
