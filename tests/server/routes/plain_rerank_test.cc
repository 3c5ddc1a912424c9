// POST /rerank: TEI, llama.cpp and infinity on one path.

#include "served.h"

namespace tamis::server {
namespace {

const Json kTei = {{"query", kQuery}, {"texts", kPassages}};
const Json kPlain = {{"query", kQuery}, {"documents", kPassages}};

TEST(TeiRerank, ABareListSortedByTheLogit) {
  Served served({"xlmr-ce"});
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  const Json answer = served.good("/rerank", kTei);
  ASSERT_TRUE(answer.is_array());
  ASSERT_EQ(answer.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(keys(answer[i]), "index score");
    EXPECT_EQ(answer[i]["index"], expected[i].index);
    EXPECT_EQ(answer[i]["score"].get<double>(), expected[i].score);
  }
}

TEST(TeiRerank, RawScoresAndTexts) {
  Served served({"xlmr-ce"});
  Json body = kTei;
  body["raw_scores"] = true;
  body["return_text"] = true;
  body["truncate"] = nullptr;  // means the server's default, as every null does
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  const Json answer = served.good("/rerank", body);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(answer[i]["score"].get<float>(), expected[i].logit);
    EXPECT_EQ(answer[i]["text"], kPassages[expected[i].index]);
  }
}

TEST(TeiRerank, AllNodesAtOnce) {
  // LlamaIndex sends every node, and asserts that it gets as many scores; TEI itself refuses more
  // than 32.
  Served served({"xlmr-ce"});
  std::vector<std::string> texts;
  for (int i = 0; i < 1500; ++i) texts.push_back("node " + std::to_string(i));
  EXPECT_EQ(served.good("/rerank", {{"query", "a"}, {"texts", texts}}).size(), texts.size());
}

TEST(TeiRerank, HeadersOfTime) {
  Served served({"xlmr-ce"});
  const Response response = served.post("/rerank", kTei);
  EXPECT_EQ(response.content_type, "application/json");
  EXPECT_EQ(response.headers.get("x-compute-type"), "cpu");
  EXPECT_EQ(response.headers.get("x-compute-characters"), "52");
  EXPECT_GT(std::stoi(std::string(response.headers.get("x-compute-tokens"))), 20);
  for (const char* name : {"x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time",
                           "x-inference-time"}) {
    const std::string value(response.headers.get(name));
    ASSERT_FALSE(value.empty()) << name;
    EXPECT_EQ(value.find_first_not_of("0123456789"), std::string::npos) << value;
  }
  EXPECT_TRUE(response.headers.get("server-timing").starts_with("tokenize;dur="));
}

std::string long_text() {
  std::string out;
  for (int i = 0; i < 200; ++i) out += "pandas ";
  return out;
}

TEST(TeiRerank, LongTexts) {
  Served served({"xlmr-ce"});
  Json body = {{"query", "a"}, {"texts", {"panda " + long_text(), "short"}}};
  expect_status(served.post("/rerank", body), 200);
  body["truncate"] = false;
  const Response refused = served.post("/rerank", body);
  expect_status(refused, 422);
  EXPECT_EQ(Json::parse(refused.body)["error_type"], "Validation");
  body["truncate"] = true;
  body["raw_scores"] = true;
  RerankOptions options;
  options.keep_end = true;
  for (const char* direction : {"Left", "left"}) {
    body["truncation_direction"] = direction;
    const auto expected = reference("xlmr-ce", "a", {body["texts"][0], body["texts"][1]}, options);
    EXPECT_EQ(served.good("/rerank", body)[0]["score"].get<float>(), expected[0].logit);
  }
  body["truncation_direction"] = "middle";
  expect_status(served.post("/rerank", body), 422);
}

TEST(TeiRerank, Errors) {
  Served served({"xlmr-ce"});
  const auto said = [&](const Json& body) {
    const Response response = served.post("/rerank", body);
    const Json error = Json::parse(response.body);
    EXPECT_EQ(keys(error), "error error_type") << response.body;
    return std::to_string(response.status) + " " + error["error_type"].get<std::string>();
  };
  EXPECT_EQ(said({{"query", "a"}, {"texts", Json::array()}}), "400 Empty");
  EXPECT_EQ(said({{"texts", {"a"}}}), "422 Validation");
  EXPECT_EQ(said({{"query", "a"}, {"texts", {1}}}), "422 Validation");
  EXPECT_EQ(said({{"query", "a"}, {"texts", {"a"}}, {"raw_scores", 1}}), "422 Validation");
}

TEST(TeiRerank, AnotherKindOfModel) {
  Served classifier({"bert-ce-labels2"});
  const Response labels = classifier.post("/rerank", kTei);
  expect_status(labels, 424);
  EXPECT_EQ(Json::parse(labels.body)["error_type"], "Backend");
  Served splade({"xlmr-bi-mlm"});
  expect_status(splade.post("/rerank", kTei), 424);
  Served nothing({});
  const Response none = nothing.post("/rerank", kTei);
  expect_status(none, 503);
  EXPECT_EQ(Json::parse(none.body)["error_type"], "Unhealthy");
}

TEST(TeiRerank, AnEmbedderScoresByCosine) {
  Served served({"bert-bi-mean-norm"});
  const auto expected = reference("bert-bi-mean-norm", kQuery, kPassages);
  const Json answer = served.good("/rerank", kTei);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(answer[i]["index"], expected[i].index);
    EXPECT_EQ(answer[i]["score"].get<double>(), expected[i].score);
  }
}

TEST(PlainRerank, OneObjectForLlamaCppAndInfinity) {
  Served served({"xlmr-ce"});
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  for (const char* path : {"/rerank", "/reranking"}) {
    const Json answer = served.good(path, kPlain);
    EXPECT_EQ(keys(answer), "created id model object results usage");
    EXPECT_EQ(answer["object"], "rerank");
    EXPECT_EQ(answer["id"], "rerank-42");
    EXPECT_EQ(answer["model"], "xlmr-ce");
    EXPECT_TRUE(answer["created"].is_number_integer());
    EXPECT_EQ(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
    EXPECT_GT(answer["usage"]["total_tokens"], 20);
    ASSERT_EQ(answer["results"].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const Json& result = answer["results"][i];
      EXPECT_EQ(keys(result), "document index relevance_score");
      EXPECT_TRUE(result["document"].is_null());
      EXPECT_EQ(result["index"], expected[i].index);
      EXPECT_EQ(result["relevance_score"].get<double>(), expected[i].score);
    }
  }
}

TEST(PlainRerank, InfinitysDocumentIsAString) {
  Served served({"xlmr-ce"});
  Json body = kPlain;
  body["return_documents"] = true;
  body["raw_scores"] = true;
  body["top_n"] = 2;
  body["model"] = "whatever the only model is called";
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  const Json results = served.good("/rerank", body)["results"];
  ASSERT_EQ(results.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(results[i]["document"], kPassages[expected[i].index]);
    EXPECT_EQ(results[i]["relevance_score"].get<float>(), expected[i].logit);
  }
}

TEST(PlainRerank, Errors) {
  Served served({"xlmr-ce"});
  const Response response = served.post("/rerank", {{"query", "a"}, {"documents", {7}}});
  expect_status(response, 400);
  const Json error = Json::parse(response.body)["error"];
  EXPECT_EQ(keys(error), "code message param type");
  EXPECT_EQ(error["code"], 400);
  EXPECT_EQ(error["param"], "documents[0]");
  Served splade({"xlmr-bi-mlm"});
  expect_status(splade.post("/rerank", kPlain), 501);
}

}  // namespace
}  // namespace tamis::server
