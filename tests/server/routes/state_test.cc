// Health, statistics, metrics, and the page.

#include "served.h"

namespace tamis::server {
namespace {

TEST(Health, IsEmptyAndFollowsReadiness) {
  Served served({});
  for (const char* path : {"/health", "/ping", "/v1/health/ready"}) {
    served.is_ready = true;
    const Response ready = served.send("GET", path);
    EXPECT_EQ(ready.status, 200);
    EXPECT_EQ(ready.body, "");
    served.is_ready = false;
    EXPECT_EQ(served.send("GET", path).status, 503);
    EXPECT_EQ(served.send("GET", "/v1/health/live").status, 200);
  }
}

TEST(State, StatisticsAndMetrics) {
  Served served({});
  EXPECT_EQ(served.get("/v1/stats"), Json({{"requests", 1}}));
  const Response metrics = served.send("GET", "/metrics");
  EXPECT_EQ(metrics.body, "tamis_requests 1\n");
  EXPECT_TRUE(metrics.content_type.starts_with("text/plain; version=0.0.4"));
}

TEST(State, WhatACallReports) {
  Served served({"xlmr-ce"});
  CallReport report;
  const auto send = [&](const char* method, const char* path, const char* body) {
    served.send(method, path, body, {}, [&](const Call& call) { report = call.report; });
  };
  send("POST", "/v1/rerank", R"({"query":"a","documents":["bc","def"]})");
  EXPECT_EQ(report.model, "xlmr-ce");
  EXPECT_EQ(report.device, "cpu");
  EXPECT_EQ(report.task, "rerank");
  EXPECT_EQ(report.texts, 2u);
  EXPECT_EQ(report.characters, 5u);
  EXPECT_EQ(report.stats.sequences, 2u);
  EXPECT_GT(report.stats.tokens, 8u);
  send("GET", "/health", "");
  EXPECT_EQ(report.task, "");
}

TEST(Web, FilesHaveTheirTypesAndAreProtected) {
  Served served({});
  const std::pair<const char*, const char*> files[] = {
      {"/", "text/html; charset=utf-8"},
      {"/style.css", "text/css; charset=utf-8"},
      {"/app.js", "text/javascript; charset=utf-8"},
      {"/openapi.json", "application/json"}};
  for (const auto& [path, type] : files) {
    const Response response = served.send("GET", path);
    EXPECT_EQ(response.status, 200) << path;
    EXPECT_EQ(response.content_type, type);
    EXPECT_FALSE(response.body.empty());
    EXPECT_EQ(response.headers.get("x-content-type-options"), "nosniff");
    EXPECT_EQ(response.headers.get("referrer-policy"), "no-referrer");
    EXPECT_TRUE(response.headers.get("content-security-policy")
                    .starts_with("default-src 'none'; script-src 'self';"));
  }
}

}  // namespace
}  // namespace tamis::server
