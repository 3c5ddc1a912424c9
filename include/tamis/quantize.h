#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tamis/types.h"

namespace tamis {

/// A query and its passages, of which it may be known how relevant they are.
struct QuantizeRequest {
  std::string query;
  std::vector<std::string> passages;
  std::vector<double> relevance;  ///< of each passage, 0 = not relevant; empty = unknown
};

struct QuantizeOptions {
  /// Texts like those that the model will read: what its layers read there decides which inputs
  /// stay f32 and which layers stay in 16 bits. 32 requests are a good number.
  std::vector<QuantizeRequest> calibration;
  /// What the report compares; empty = the calibration requests.
  std::vector<QuantizeRequest> evaluation;
  size_t max_length = 512;            ///< tokens of a pair
  size_t calibration_tokens = 16384;  ///< at most so many are used, in order of the requests
  LoadOptions load;                   ///< threads, isa and log; the work is done on the cpu
  /// Told what is being done: "calibrating", "writing", "scoring in f32", "scoring in int8".
  std::function<void(const std::string& stage)> stage;
};

/// int8 beside f32. Rankings: means over requests of two passages and more.
struct QuantizeReport {
  std::filesystem::path directory;
  size_t source_bytes = 0;  ///< of the weight files
  size_t bytes = 0;
  size_t calibration_sequences = 0;
  size_t calibration_tokens = 0;
  size_t outlier_columns = 0;
  std::vector<std::string> left_alone;  ///< weights that stay in 16 bits
  size_t requests = 0;
  size_t pairs = 0;
  double kendall = 0;  ///< tau-b
  double spearman = 0;
  double top1 = 0;       ///< share of requests with the same best passage
  double top10 = 0;      ///< share of the best ten that both have
  double max_delta = 0;  ///< |logit in int8 - logit in f32|; of an embedder, of the cosine
  double mean_delta = 0;
  size_t judged = 0;  ///< requests with a relevant passage; the next two are means over them
  double ndcg10_f32 = 0;
  double ndcg10_int8 = 0;
};

/// Writes `out`, a model directory like `directory` with int8 weights, and compares the two.
/// Errors: invalid_argument (no calibration requests, `out` is not new, the model is quantised
/// already), and those of Reranker::load; unavailable, resource_exhausted (`out` cannot be written;
/// then nothing of it stays).
QuantizeReport quantize(const std::filesystem::path& directory, const std::filesystem::path& out,
                        const QuantizeOptions& options);

}  // namespace tamis
