// The last minute, and percentiles of it.

#include "watch/metrics.h"

#include <gtest/gtest.h>

namespace tamis::server {
namespace {

using std::chrono::seconds;

FinishedRequest took(double ms) {
  FinishedRequest out{"/rerank", "rerank", 200, 3, {}, ms};
  out.stats.tokens = 10;
  return out;
}

TEST(LastMinute, KeepsEachSecondAndForgetsWhatIsOlder) {
  LastMinute minute;
  const auto start = LastMinute::Clock::time_point() + seconds(1000);
  for (int i = 0; i < 100; ++i) {
    for (int n = 0; n <= i % 3; ++n) minute.add(start + seconds(i), took(5));
  }
  const auto read = minute.read(start + seconds(100));
  ASSERT_EQ(read.size(), 60u);
  for (int i = 0; i < 60; ++i) {
    const auto want = static_cast<uint64_t>(1 + (40 + i) % 3);
    EXPECT_EQ(read[static_cast<size_t>(i)].requests, want) << i;
    EXPECT_EQ(read[static_cast<size_t>(i)].tokens, 10 * want);
  }
}

TEST(LastMinute, SecondsWithoutRequestsAreEmpty) {
  LastMinute minute;
  const auto start = LastMinute::Clock::time_point() + seconds(1000);
  minute.add(start, took(5));
  const auto read = minute.read(start + seconds(30));
  uint64_t all = 0;
  for (const auto& second : read) all += second.requests;
  EXPECT_EQ(all, 1u);
  EXPECT_EQ(minute.read(start + seconds(500)).back().requests, 0u);
}

TEST(Percentiles, AreRightWithinTheStep) {
  LastMinute minute;
  const auto start = LastMinute::Clock::time_point() + seconds(1000);
  for (int ms = 1; ms <= 1000; ++ms) minute.add(start, took(ms));
  const auto read = minute.read(start + seconds(1));
  for (double share : {0.5, 0.9, 0.99}) {
    const auto got = percentile(read, share);
    ASSERT_TRUE(got);
    EXPECT_GE(*got, 1000 * share);
    EXPECT_LE(*got, 1000 * share * 1.11);
  }
  EXPECT_FALSE(percentile({}, 0.5));
}

TEST(Metrics, AreWrittenInPrometheusFormatWithoutAnySource) {
  Metrics metrics;
  metrics.finished(took(12));
  metrics.batch({"cpu", 2, 3, 30, 12, 1024, 1.5, false});
  metrics.batch({"cpu", 2, 3, 30, 12, 1024, 1.5, true});
  const std::string text = metrics.prometheus({});
  for (const char* line :
       {"te_request_count{method=\"batch\"} 1", "tamis_tokens_total{task=\"rerank\"} 10",
        "tamis_batches_total{device=\"cpu\"} 1", "tamis_out_of_memory_total{device=\"cpu\"} 1",
        "tamis_padding_saved_tokens_total 6", "te_request_duration_count 1"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
}

}  // namespace
}  // namespace tamis::server
