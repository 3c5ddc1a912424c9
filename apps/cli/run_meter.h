#pragma once

// Measures what a command does, for --timings.

#include <chrono>
#include <cstddef>
#include <string_view>

#include "dto.h"
#include "options.h"

namespace tamis::cli {

class RunMeter {
 public:
  using Clock = std::chrono::steady_clock;

  /// sequences: what they are called in the report ("pairs", "texts").
  RunMeter(Clock::time_point process_start, const BenchmarkOptions& options,
           std::string_view sequences)
      : process_start_(process_start), options_(options) {
    timings_.sequences = sequences;
  }

  /// Loads a model: `auto model = meter.load([&] { return Reranker::load(...); });`
  template <class Load>
  auto load(const Load& load) {
    const auto begin = Clock::now();
    auto out = load();
    timings_.load_ms = milliseconds(Clock::now() - begin);
    return out;
  }

  /// Calls work(RunStats*) as often as --repeat says and gives back its last result.
  template <class Work>
  auto measure(const Work& work) {
    for (size_t run = 1;; ++run) {
      RunStats stats;
      const auto begin = Clock::now();
      const double cpu_begin = cpu_ms();
      auto out = work(&stats);
      if (options_.repeat > 0) {
        timings_.inference_ms_all.push_back(stats.inference_ms);
        timings_.total_ms_all.push_back(milliseconds(Clock::now() - begin));
        timings_.cpu_ms_all.push_back(cpu_ms() - cpu_begin);
      }
      if (run < options_.runs()) continue;
      add(stats);
      return out;
    }
  }

  /// When results have been written; the first call counts.
  void result_written();

  /// The line of --timings, if it was asked for.
  void report() const;

  const RunStats& stats() const { return timings_.stats; }

 private:
  static double milliseconds(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
  }
  static double cpu_ms();  ///< of all threads of the process so far
  void add(const RunStats& stats);

  Clock::time_point process_start_;
  const BenchmarkOptions options_;
  Timings timings_;
};

}  // namespace tamis::cli
