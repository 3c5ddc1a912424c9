#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tamis/model.h"
#include "tamis/types.h"

namespace tamis {

/// A query and its passages, as they will come.
struct BenchRequest {
  std::string query;
  std::vector<std::string> passages;
};

struct BenchOptions {
  std::vector<std::string> dtypes = {"f32", "int8"};
  std::vector<int> threads;                 ///< empty: one, and one for each usable core
  std::vector<size_t> lengths = {64, 512};  ///< tokens of a sequence; cut to what the model takes
  std::vector<BenchRequest> requests;       ///< if there are some: these instead of made-up ids
  size_t max_length = 512;                  ///< tokens of a sequence of `requests`
  double seconds = 1;                       ///< at least so long for each row, and three times
  LoadOptions load;                         ///< isa, log, memory limit
  /// Told what comes next: "int8, 2 threads".
  std::function<void(const std::string& what)> stage;
};

/// The model in one dtype on so many threads of the cpu.
struct BenchPlace {
  std::string dtype;
  int threads = 0;
  double load_ms = 0;  ///< to convert, pack (or map) the weights; for int8 to calibrate
  size_t weight_bytes = 0;
  size_t workspace_bytes = 0;
  double peak = 0;  ///< operations a second that these threads can do, measured just before
};

/// One amount of work, done several times. A pair for a cross-encoder, a text for an embedder.
struct BenchRow {
  size_t place = 0;      ///< index in BenchReport::places
  std::string work;      ///< "1 x 64", "32 x 512", "requests"
  size_t sequences = 0;  ///< done together
  size_t tokens = 0;     ///< of all of them
  size_t times = 0;
  double best_ms = 0;
  double median_ms = 0;
  double worst_ms = 0;
  double sequences_per_s = 0;  ///< from the median, as what follows
  double tokens_per_s = 0;
  double operations_per_s = 0;  ///< multiplications and additions of layers and attention
  double share_of_peak = 0;     ///< of BenchPlace::peak
};

struct BenchReport {
  ModelInfo model;
  std::string cpu;  ///< "AMD EPYC ..."
  std::string isa;
  int cores = 0;  ///< that this process may use
  std::vector<BenchPlace> places;
  std::vector<BenchRow> rows;
};

/// Measures a model on this machine's cpu: without tokenising, each row after one pass that does
/// not count. Errors: as Reranker::load; invalid_argument (no dtype, length or request that fits).
BenchReport bench(const std::filesystem::path& directory, const BenchOptions& options);

}  // namespace tamis
