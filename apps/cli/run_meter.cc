#include "run_meter.h"

#include <time.h>
#include <unistd.h>

#include <string>

namespace tamis::cli {

void RunMeter::add(const RunStats& stats) {
  RunStats& sum = timings_.stats;
  sum.sequences += stats.sequences;
  sum.tokens += stats.tokens;
  sum.truncated += stats.truncated;
  sum.utf8_replacements += stats.utf8_replacements;
  sum.tokenize_ms += stats.tokenize_ms;
  sum.inference_ms += stats.inference_ms;
}

double RunMeter::cpu_ms() {
  timespec now = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

void RunMeter::result_written() {
  if (timings_.first_result_ms == 0) {
    timings_.first_result_ms = milliseconds(Clock::now() - process_start_);
  }
}

void RunMeter::report() const {
  if (!options_.timings) return;
  std::string line;
  write_timings(line, timings_);
  line += '\n';
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tamis::cli
