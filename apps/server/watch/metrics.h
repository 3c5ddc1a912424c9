#pragma once

// What the server counts, for Prometheus and for its own page.

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "service/model_set.h"
#include "tamis/device.h"
#include "tamis/types.h"
#include "transport/server.h"

namespace tamis::server {

/// A request that was answered.
struct FinishedRequest {
  std::string_view route;  ///< "/v1/rerank": the pattern, so that labels are few
  std::string_view task;   ///< "rerank", "embed"; empty where no model ran
  int status = 200;
  size_t texts = 0;
  RunStats stats;
  double total_ms = 0;
};

/// The last minute, a second each; for the page.
class LastMinute {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kSeconds = 60;
  static constexpr size_t kSteps = 160;

  void add(Clock::time_point now, const FinishedRequest& request);

  struct Second {
    int64_t second = -1;  ///< of the clock; -1 = nothing yet
    uint64_t requests = 0, texts = 0, tokens = 0;
    /// Latencies in steps of 10 %, from 0.1 ms; enough for a percentile to be right within that.
    std::array<uint32_t, kSteps> latencies{};
  };
  /// Oldest first; the second that runs is not among them.
  std::vector<Second> read(Clock::time_point now) const;

 private:
  mutable std::mutex mutex_;
  std::array<Second, kSeconds + 1> ring_;
};

/// Milliseconds below which the given share (0 to 1) of the latencies lies; nothing of none.
std::optional<double> percentile(const std::vector<LastMinute::Second>& seconds, double share);

/// What is asked of others at the moment of a scrape.
struct Sources {
  const ModelSet* models = nullptr;
  const Devices* devices = nullptr;
  const TransportCounters* transport = nullptr;
  size_t waiting_tokens = 0, most_tokens = 0;  ///< of admission
  bool ready = false, draining = false;
};

/// Thread rule: any thread.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  void finished(const FinishedRequest& request);
  void refused(std::string_view why);  ///< "overloaded", "rate", "key", "draining"
  void batch(const BatchReport& report);

  /// Prometheus' text format, TEI's `te_*` names where they fit.
  std::string prometheus(const Sources& sources) const;

  /// Since the start.
  struct Totals {
    uint64_t requests = 0, failed = 0, refused = 0;
    uint64_t batches = 0, sequences = 0, tokens = 0;
    uint64_t budget = 0;  ///< tokens that the batches might have had
    uint64_t padded = 0;  ///< tokens that padded batches would have had
    uint64_t out_of_memory = 0;
  };
  Totals totals() const;
  const LastMinute& minute() const;
  double uptime_s() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Of GET /v1/stats, what the page shows: see openapi.json.
std::string stats_json(const Metrics& metrics, const Sources& sources);

}  // namespace tamis::server
