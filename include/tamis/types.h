#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tamis/log.h"

namespace tamis {

/// How token vectors become one vector of a text.
enum class Pooling {
  kFromModel,  ///< what the model directory says (1_Pooling); "cls" where it says nothing
  kCls,
  kMean,
  kLast,
};

struct LoadOptions {
  /// "cpu" (all features, fast) or "ref" (plain loops in double: the specification, slow).
  std::string device = "cpu";
  /// Threads that compute; 0 = the cores this process may use (affinity, cgroup quota).
  int threads = 0;
  /// Instruction set of the cpu device; "" = the best one the machine has. See supported_isas().
  std::string isa;
  /// Overrides what the directory says; for embedders.
  Pooling pooling = Pooling::kFromModel;
  /// Receives notices and, at debug level, ignored tensors. Never called after load returns.
  LogSink log;
};

/// What one call did (each call overwrites it); times in milliseconds of wall clock.
struct RunStats {
  size_t sequences = 0;          ///< pairs or texts that went through the model
  size_t tokens = 0;             ///< their tokens, special ones included
  size_t truncated = 0;          ///< sequences that were cut
  size_t utf8_replacements = 0;  ///< ill-formed parts of the input replaced by U+FFFD
  double tokenize_ms = 0;
  double inference_ms = 0;
};

/// Called between batches with sequences done so far and in all.
using Progress = std::function<void(size_t done, size_t total)>;

/// Instruction sets that the cpu device can use here, best first ("avx512", "avx2", "sse4",
/// "baseline").
std::vector<std::string> supported_isas();

/// "0.1.0"
std::string version();

}  // namespace tamis
