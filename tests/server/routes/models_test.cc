// Models: listed, loaded, moved, trimmed and unloaded.

#include "served.h"

namespace tamis::server {
namespace {

const HeaderList kJson = {{"content-type", "application/json"}};

std::string directory(const std::string& name) { return (kModels / name).string(); }

TEST(Models, OpenAisList) {
  Served served({"xlmr-ce", "xlmr-m3"});
  for (const char* path : {"/v1/models", "/models"}) {
    const Json answer = served.get(path);
    EXPECT_EQ(answer["object"], "list");
    ASSERT_EQ(answer["data"].size(), 2u);
    EXPECT_EQ(answer["data"][0]["id"], "xlmr-ce");
    EXPECT_EQ(answer["data"][0]["object"], "model");
    EXPECT_EQ(answer["data"][0]["owned_by"], "tamis");
    EXPECT_TRUE(answer["data"][0]["created"].is_number_integer());
    EXPECT_EQ(answer["data"][0]["capabilities"], Json({"rerank", "classify"}));
    EXPECT_EQ(answer["data"][1]["capabilities"], Json({"rerank", "embed", "sparse", "colbert"}));
  }
  EXPECT_EQ(Served({}).get("/v1/models")["data"], Json::array());
}

TEST(Models, OneWithItsPlaceAndMemory) {
  Served served({"xlmr-ce"});
  const Json model = served.get("/v1/models/xlmr-ce");
  EXPECT_EQ(model["device"], "cpu");
  EXPECT_EQ(model["dtype"], "f32");
  EXPECT_EQ(model["placement"].size(), 1u);
  EXPECT_GT(model["placement"][0]["weight_bytes"], 0);
  EXPECT_GT(model["memory"]["weight_bytes"], 0);
  EXPECT_EQ(model["load"]["calls"], 0);
  // Here a name is a name, though any would do for a request.
  const Response unknown = served.send("GET", "/v1/models/other");
  expect_status(unknown, 404);
  EXPECT_EQ(Json::parse(unknown.body)["error"]["code"], "not_found");
}

TEST(Models, LoadMoveAndUnload) {
  Served served({});
  const Response loaded = served.post("/v1/models",
                                      {{"id", "own/reranker"},
                                       {"directory", directory("xlmr-ce")},
                                       {"aliases", {"bge-reranker"}},
                                       {"max_length", 32},
                                       {"threads", 1},
                                       {"memory_limit", "1GiB"}},
                                      kJson);
  expect_status(loaded, 201);
  const Json model = Json::parse(loaded.body);
  EXPECT_EQ(model["id"], "own/reranker");
  EXPECT_EQ(model["max_length"], 32);
  EXPECT_EQ(served.get("/v1/models/bge-reranker")["id"], "own/reranker");
  EXPECT_EQ(served.good("/v1/score", {{"query", "a"}, {"passages", {"b"}}})["model"],
            "own/reranker");
  const Response moved =
      served.post("/v1/models/own/reranker/device", {{"device", "sim:0"}, {"dtype", "f16"}}, kJson);
  expect_status(moved, 200);
  const Json report = Json::parse(moved.body);
  EXPECT_EQ(report["from"], "cpu");
  EXPECT_EQ(report["to"], "sim:0");
  EXPECT_EQ(report["placement"][0]["device"], "sim:0");
  EXPECT_EQ(report["placement"][0]["dtype"], "f16");
  EXPECT_EQ(served.post("/v1/rerank", {{"query", "a"}, {"documents", {"b"}}})
                .headers.get("x-compute-type"),
            "sim:0");
  const Response gone = served.send("DELETE", "/v1/models/bge-reranker");
  expect_status(gone, 200);
  EXPECT_EQ(Json::parse(gone.body),
            Json({{"id", "own/reranker"}, {"object", "model"}, {"deleted", true}}));
  EXPECT_EQ(served.get("/v1/models")["data"].size(), 0u);
  expect_status(served.send("DELETE", "/v1/models/own/reranker"), 404);
}

TEST(Models, WhatCannotBeLoaded) {
  Served served({"xlmr-ce"});
  const auto status = [&](const Json& body) {
    const Response response = served.post("/v1/models", body, kJson);
    EXPECT_TRUE(Json::parse(response.body)["error"].contains("code")) << response.body;
    return response.status;
  };
  EXPECT_EQ(status({{"id", "x"}}), 400);
  EXPECT_EQ(status({{"directory", ""}}), 400);
  EXPECT_EQ(status({{"directory", "/nowhere/at/all"}}), 404);
  EXPECT_EQ(status({{"directory", directory("xlmr-ce")}, {"device", "tpu:9"}}), 400);
  EXPECT_EQ(status({{"directory", directory("xlmr-ce")}, {"device", ""}}), 400);
  EXPECT_EQ(status({{"directory", directory("xlmr-ce")}, {"threads", -1}}), 400);
  EXPECT_EQ(status({{"directory", directory("xlmr-ce")}, {"memory_limit", "much"}}), 400);
  EXPECT_EQ(status({{"directory", directory("xlmr-ce")}, {"memory_limit", 0}}), 400);
  EXPECT_EQ(status({{"directory", directory("bert-ce")}, {"aliases", {"xlmr-ce"}}}), 400);
  EXPECT_EQ(served.models.all().size(), 1u);
}

TEST(Models, APageOfAnotherSiteCannotChangeThem) {
  // A browser sends such a request without asking first, unless its type is JSON.
  Served served({"xlmr-ce"});
  const Json body = {{"directory", directory("bert-ce")}};
  for (const char* type : {"text/plain", "", "application/x-www-form-urlencoded"}) {
    expect_status(served.post("/v1/models", body, {{"content-type", type}}), 415);
    expect_status(
        served.post("/v1/models/xlmr-ce/device", {{"device", "cpu"}}, {{"content-type", type}}),
        415);
  }
}

TEST(Models, MovesThatFailLeaveThemWhereTheyAre) {
  Served served({"xlmr-ce"});
  const auto status = [&](const Json& body) {
    return served.post("/v1/models/xlmr-ce/device", body, kJson).status;
  };
  EXPECT_EQ(status(Json::object()), 400);
  EXPECT_EQ(status({{"device", "tpu:9"}}), 400);
  EXPECT_EQ(status({{"device", "cpu"}, {"dtype", "f8"}}), 400);
  EXPECT_EQ(status({{"device", "sim:0"}, {"memory_limit", 100}}), 503);
  EXPECT_EQ(served.get("/v1/models/xlmr-ce")["device"], "cpu");
  expect_status(served.post("/v1/models/none/device", {{"device", "cpu"}}, kJson), 404);
}

TEST(Models, Trim) {
  Served served({"xlmr-ce", "bert-ce"});
  served.good("/v1/rerank", {{"query", "a"}, {"documents", {"b"}}});
  const Response all = served.send("POST", "/v1/admin/trim");
  expect_status(all, 200);
  const Json models = Json::parse(all.body)["models"];
  ASSERT_EQ(models.size(), 2u);
  EXPECT_GT(models[0]["freed_bytes"], 0);
  EXPECT_EQ(served.good("/v1/admin/trim", {{"model", "bert-ce"}})["models"].size(), 1u);
  expect_status(served.post("/v1/admin/trim", {{"model", "none"}}), 404);
}

}  // namespace
}  // namespace tamis::server
