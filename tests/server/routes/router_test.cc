#include <set>

#include "served.h"

namespace tamis::server {
namespace {

std::string found(const std::string& method, const std::string& path) {
  const Match match = Router().find(method, path);
  return match.route == nullptr ? "" : std::string(match.route->path);
}

TEST(Router, FindsEveryRouteByItsOwnMethodAndPath) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const Route& route : all_routes()) {
    EXPECT_TRUE(seen.emplace(route.method, route.path).second) << route.path << " twice";
    EXPECT_EQ(Router().find(route.method, route.path).route, &route) << route.path;
    EXPECT_NE(route.run, nullptr);
  }
}

TEST(Router, HeadIsGetAndATrailingSlashIsNoDifference) {
  EXPECT_EQ(found("HEAD", "/health"), "/health");
  EXPECT_EQ(found("GET", "/health/"), "/health");
  EXPECT_EQ(found("POST", "/v1/rerank//"), "/v1/rerank");
  EXPECT_EQ(found("GET", "/"), "/");
  EXPECT_EQ(found("HEAD", "/rerank"), "");
}

TEST(Router, AnIdMayHaveSlashes) {
  const Match plain = Router().find("GET", "/v1/models/bge-m3");
  ASSERT_NE(plain.route, nullptr);
  EXPECT_EQ(plain.parameters, std::vector<std::string>{"bge-m3"});
  const Match owner = Router().find("DELETE", "/v1/models/BAAI/bge-m3");
  ASSERT_NE(owner.route, nullptr);
  EXPECT_EQ(owner.parameters, std::vector<std::string>{"BAAI/bge-m3"});
  const Match device = Router().find("PUT", "/v1/models/BAAI/bge-m3/device");
  ASSERT_NE(device.route, nullptr);
  EXPECT_EQ(device.route->path, "/v1/models/{id}/device");
  EXPECT_EQ(device.parameters, std::vector<std::string>{"BAAI/bge-m3"});
  EXPECT_EQ(found("GET", "/v1/models//"), "/v1/models");
}

TEST(Router, SaysWhichMethodsAPathHas) {
  EXPECT_EQ(Router().find("GET", "/v1/rerank").allow, "POST");
  EXPECT_EQ(Router().find("PATCH", "/v1/models").allow, "GET, HEAD, POST");
  EXPECT_EQ(Router().find("GET", "/nowhere").allow, "");
  EXPECT_EQ(Router().find("", "").route, nullptr);
  Served served({});
  const Response wrong = served.send("GET", "/v1/rerank");
  expect_status(wrong, 405);
  EXPECT_EQ(wrong.headers.get("allow"), "POST");
  EXPECT_EQ(Json::parse(wrong.body).at("detail"), "/v1/rerank: expected POST, got GET");
  const Response unknown = served.send("GET", "/nowhere");
  expect_status(unknown, 404);
  EXPECT_EQ(Json::parse(unknown.body)["error"]["code"], "not_found");
}

TEST(Router, RoutesSayWhatTheyNeed) {
  for (const Route& route : all_routes()) {
    EXPECT_FALSE(route.admin && route.open) << route.path;
    // What needs no key tells nothing of the models, and changes nothing.
    EXPECT_TRUE(!route.open || route.method == "GET") << route.path;
    const bool changes = route.path.starts_with("/v1/models") && route.method != "GET";
    EXPECT_EQ(route.admin, changes || route.path.starts_with("/v1/admin")) << route.path;
  }
}

TEST(Router, ADialectForEveryPath) {
  EXPECT_EQ(dialect_of("/v1/embeddings"), Dialect::kOpenAi);
  EXPECT_EQ(dialect_of("/rerank/"), Dialect::kTei);
  EXPECT_EQ(dialect_of("/v2/rerank"), Dialect::kCohere);
  EXPECT_EQ(dialect_of("/v1/rerank"), Dialect::kJina);
  EXPECT_EQ(dialect_of("/v1/score"), Dialect::kOwn);
  EXPECT_EQ(dialect_of(""), Dialect::kOwn);
}

}  // namespace
}  // namespace tamis::server
