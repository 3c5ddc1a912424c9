#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/log.h"

namespace tamis {

/// How token vectors become one vector of a text.
enum class Pooling {
  kFromModel,  ///< what the model directory says (1_Pooling), else its name (registry.h), else cls
  kCls,
  kMean,
  kLast,
  kSplade,  ///< a masked language model's head: log(1 + max(0, largest logit)) of each word
};

/// "cls", "mean", "last" or FlagEmbedding's "last_token", "splade"; "" = kFromModel.
/// Errors: invalid_argument.
Pooling parse_pooling(std::string_view name);
/// The word for it; "" of kFromModel.
std::string_view pooling_name(Pooling pooling);

/// What becomes of a text that has more tokens than it may.
enum class LongText {
  kTruncate,  ///< its end (or beginning) is cut off
  kRefuse,    ///< invalid_argument, with the numbers
  kChunk,     ///< rerankers: overlapping windows are scored, and the best one counts
};

/// How urgent a call is, and what ends it early. A call that is ended throws cancelled; what runs
/// of it at that moment is finished first, which takes a batch at most.
struct CallControl {
  int priority = 0;  ///< of the calls that wait for a model, a higher one goes first
  std::optional<std::chrono::steady_clock::time_point> deadline = {};
  std::stop_token stop = {};
};

/// A batch that a replica has run, or could not.
struct BatchReport {
  std::string_view device;
  size_t calls = 0;  ///< whose sequences it had
  size_t sequences = 0;
  size_t tokens = 0;
  size_t longest = 0;  ///< tokens of its longest sequence, to which others would pad
  size_t budget = 0;   ///< tokens that it might have had
  double ms = 0;
  bool out_of_memory = false;  ///< it will be run in smaller parts
};

class Devices;

struct LoadOptions {
  /// Where the model runs: "cpu" (the default), "cpu:0" (a NUMA node), "sim:0" (simulated), several
  /// with commas ("cpu,cpu": two replicas that split the cores), "auto" (the accelerator with the
  /// most free memory, else the cpu), or "ref" (plain loops in double: the specification, slow).
  /// The checkpoint is read into host memory first, whatever is named here.
  std::string device = "cpu";
  /// The layers' weights on the device: "f32", or "f16" and "bf16" with f32 arithmetic, or "int8"
  /// (weights and activations). "" = "int8" of a directory that `tamis quantize` made, else "f32".
  std::string dtype;
  /// Threads that compute, of all cpu replicas together; 0 = the cores this process may use
  /// (affinity, cgroup quota).
  int threads = 0;
  /// Instruction set of the cpu device; "" = the best one the machine has. See supported_isas().
  std::string isa;
  /// The most memory that this model may take on each device, in bytes.
  std::optional<size_t> memory_limit_bytes;
  /// Tokens of a batch that memory is planned for; 0 = what suits each device.
  size_t batch_tokens = 0;
  /// Where the packed weights of cpu devices are kept, so that the next start maps them instead of
  /// packing (and, for int8, calibrating) anew, and processes share one copy. It may be the model's
  /// own directory. A file that is stale, damaged or another user's is told to `log` and made anew;
  /// a directory that cannot be written is told, and no error. "" = nowhere.
  std::filesystem::path cache_directory;
  /// After so long without an answer a device counts as failed.
  int device_timeout_ms = 120000;
  /// Devices to share with other models; null = devices of this model's own.
  std::shared_ptr<Devices> devices;
  /// Overrides what the directory says; for embedders.
  Pooling pooling = Pooling::kFromModel;
  /// Receives notices and, at debug level, ignored tensors; later also what happens while the model
  /// runs (a device that failed), from any thread. Must stay valid as long as the model does.
  LogSink log;
  /// Called after each batch from the replica's thread, under no lock; must be quick, and stay
  /// valid as long as the model does.
  std::function<void(const BatchReport&)> on_batch;
};

/// What one call did (each call overwrites it); times in milliseconds of wall clock.
struct RunStats {
  size_t sequences = 0;          ///< pairs or texts that went through the model
  size_t tokens = 0;             ///< their tokens, special ones included
  size_t truncated = 0;          ///< sequences that were cut
  size_t utf8_replacements = 0;  ///< ill-formed parts of the input replaced by U+FFFD
  double tokenize_ms = 0;
  double queue_ms = 0;      ///< until the first batch began
  double inference_ms = 0;  ///< from there to the end

  RunStats& operator+=(const RunStats& part);
};

/// Called between batches with sequences done so far and in all.
using Progress = std::function<void(size_t done, size_t total)>;

/// Instruction sets that the cpu device can use here, best first ("amx", "avx512_vnni",
/// "avx512", "avx_vnni", "avx2", "sse4", "baseline"); the first two and avx_vnni differ from what
/// follows them in int8 alone.
std::vector<std::string> supported_isas();

/// "0.1.0"
std::string version();

}  // namespace tamis
