// POST /v1/rerank: Jina, Cohere v1, Voyage, vLLM, Xinference and their clients; NIM's ranking.

#include "served.h"

namespace tamis::server {
namespace {

const Json kBody = {{"query", kQuery}, {"documents", kPassages}};

TEST(JinaRerank, OneObjectForAll) {
  Served served({"xlmr-ce"});
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  for (const char* path : {"/v1/rerank", "/v1/reranking", "/v2/rerank"}) {
    const Json answer = served.good(path, kBody);
    EXPECT_EQ(keys(answer), "id meta model object results usage");
    EXPECT_EQ(answer["object"], "list");
    EXPECT_EQ(answer["model"], "xlmr-ce");
    EXPECT_EQ(answer["id"], "rerank-42");
    EXPECT_EQ(keys(answer["usage"]), "prompt_tokens total_tokens");
    const Json& meta = answer["meta"];
    EXPECT_EQ(meta["api_version"]["version"], path[2] == '1' ? "1" : "2");
    EXPECT_EQ(meta["billed_units"]["search_units"], 1);
    EXPECT_EQ(meta["tokens"]["input_tokens"], answer["usage"]["total_tokens"]);
    ASSERT_EQ(answer["results"].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const Json& result = answer["results"][i];
      EXPECT_EQ(keys(result), "index relevance_score");
      EXPECT_EQ(result["index"], expected[i].index);
      EXPECT_EQ(result["relevance_score"].get<double>(), expected[i].score);
    }
  }
}

TEST(JinaRerank, ExplicitNullsAreAbsent) {
  // LangChain's CohereRerank and Haystack's JinaRanker.
  Served served({"xlmr-ce"});
  const Json nulls = {{"top_n", nullptr},
                      {"max_tokens_per_doc", nullptr},
                      {"model", nullptr},
                      {"return_documents", nullptr},
                      {"rank_fields", nullptr},
                      {"max_chunks_per_doc", nullptr},
                      {"priority", nullptr},
                      {"timeout_ms", nullptr},
                      {"truncate_prompt_tokens", nullptr},
                      {"long", nullptr},
                      {"top_k", nullptr},
                      {"truncation", nullptr},
                      {"max_doc_length", nullptr},
                      {"return_embeddings", nullptr}};
  Json plain = served.good("/v1/rerank", kBody);
  EXPECT_EQ(served.good("/v1/rerank", with(kBody, nulls)), plain);
}

TEST(JinaRerank, TopN) {
  Served served({"xlmr-ce"});
  const auto size = [&](const Json& more) {
    return served.good("/v1/rerank", with(kBody, more))["results"].size();
  };
  EXPECT_EQ(size({{"top_n", 2}}), 2u);
  EXPECT_EQ(size({{"top_n", 0}}), 4u);  // vLLM: all
  EXPECT_EQ(size({{"top_n", 100}}), 4u);
  EXPECT_EQ(size({{"top_k", 3}}), 3u);
}

TEST(JinaRerank, DocumentsComeBackWhereTheyAreAskedFor) {
  Served served({"xlmr-ce"});
  const auto document = [&](const Json& more) {
    return served
        .good("/v1/rerank", with({{"query", "a"}, {"documents", {"b"}}}, more))["results"][0]
        .value("document", Json());
  };
  EXPECT_TRUE(document({}).is_null());
  EXPECT_TRUE(document({{"model", "rerank-english-v3.0"}}).is_null());
  EXPECT_EQ(document({{"return_documents", true}}), Json({{"text", "b"}}));
  // Jina returns them by default.
  EXPECT_EQ(document({{"model", "jina-reranker-v2-base-multilingual"}}), Json({{"text", "b"}}));
  EXPECT_EQ(document({{"max_doc_length", 10}}), Json({{"text", "b"}}));
  EXPECT_TRUE(document({{"model", "jina-reranker-v2"}, {"return_documents", false}}).is_null());
}

TEST(JinaRerank, DocumentsMayBeObjects) {
  Served served({"xlmr-ce"});
  const Json documents = {"one", {{"text", "two"}, {"id", "x"}}, {{"text", "three"}, {"n", 3}}};
  const auto expected = reference("xlmr-ce", "a", {"one", "two", "three"});
  const Json results = served.good(
      "/v1/rerank",
      {{"query", "a"}, {"documents", documents}, {"return_documents", true}})["results"];
  ASSERT_EQ(results.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(results[i]["index"], expected[i].index);
    EXPECT_EQ(results[i]["relevance_score"].get<double>(), expected[i].score);
    if (expected[i].index == 1) {
      EXPECT_EQ(results[i]["document"], Json({{"text", "two"}, {"id", "x"}}));
    }
  }
}

TEST(JinaRerank, RankFieldsChooseWhatIsRead) {
  Served served({"xlmr-ce"});
  const Json documents = {{{"title", "T"}, {"body", "B"}, {"other", "O"}}};
  const auto score = [&](const Json& fields) {
    return served
        .good("/v1/rerank", {{"query", "a"},
                             {"documents", documents},
                             {"rank_fields", fields}})["results"][0]["relevance_score"]
        .get<double>();
  };
  EXPECT_EQ(score({"body"}), reference("xlmr-ce", "a", {"B"})[0].score);
  EXPECT_EQ(score({"title", "body"}), reference("xlmr-ce", "a", {"title: T\nbody: B"})[0].score);
  const Response none = served.post("/v1/rerank", {{"query", "a"}, {"documents", documents}});
  expect_status(none, 400);
  EXPECT_EQ(Json::parse(none.body)["detail"], "documents[0].text: expected a string, got nothing");
  expect_status(
      served.post("/v1/rerank",
                  {{"query", "a"}, {"documents", documents}, {"rank_fields", {"x", "y"}}}),
      400);
}

TEST(JinaRerank, VoyagesClientReadsData) {
  Served served({"xlmr-ce"});
  for (const Json& more : {Json({{"top_k", 2}}), Json({{"truncation", true}, {"top_k", 2}})}) {
    const Json answer = served.good("/v1/rerank", with(kBody, more));
    EXPECT_EQ(answer["data"], answer["results"]);
    EXPECT_EQ(answer["data"].size(), 2u);
    EXPECT_TRUE(answer["usage"]["total_tokens"].is_number_integer());
  }
  const Json documents =
      served.good("/v1/rerank", with(kBody, {{"top_k", 1}, {"return_documents", true}}));
  EXPECT_TRUE(documents["data"][0]["document"].is_string());
}

TEST(JinaRerank, LongDocuments) {
  Served served({"xlmr-ce"});
  std::string document;
  for (int i = 0; i < 100; ++i) document += "word" + std::to_string(i) + " ";
  const auto answer = [&](const Json& more) {
    return served.post("/v1/rerank",
                       with({{"query", "a"}, {"documents", {document}}, {"raw", true}}, more));
  };
  const auto score = [&](const Json& more) {
    return Json::parse(answer(more).body)["results"][0]["relevance_score"].get<float>();
  };
  const auto expected = [&](RerankOptions options) {
    return reference("xlmr-ce", "a", {document}, options)[0].logit;
  };
  EXPECT_EQ(score({}), expected({}));
  EXPECT_EQ(score({{"max_length", 20}}), expected({.max_length = 20}));
  EXPECT_EQ(score({{"truncate_prompt_tokens", 20}}), expected({.max_length = 20}));
  EXPECT_EQ(score({{"truncate_prompt_tokens", -1}}), expected({}));
  EXPECT_EQ(score({{"truncation_side", "left"}}), expected({.keep_end = true}));
  // Ten tokens of the document, and the query and special ones besides.
  const size_t query = loaded("xlmr-ce")->tokenizer().encode("a").ids.size() - 2;
  EXPECT_EQ(score({{"max_tokens_per_doc", 10}}), expected({.max_length = 10 + query + 4}));
  EXPECT_EQ(score({{"max_doc_length", 10}}), expected({.max_length = 10 + query + 4}));
  EXPECT_EQ(score({{"max_tokens_per_doc", 4096}}), expected({}));
  const RerankOptions chunks{.long_passages = LongText::kChunk};
  EXPECT_EQ(score({{"long", "chunk"}}), expected(chunks));
  EXPECT_EQ(score({{"max_chunks_per_doc", 10}}), expected(chunks));
  expect_status(answer({{"long", "error"}}), 400);
  expect_status(answer({{"truncation", false}}), 400);
  expect_status(answer({{"long", "cut"}}), 400);
}

TEST(JinaRerank, EmptyDocumentsAndQueriesAreTexts) {
  Served served({"xlmr-ce"});
  const Json answer = served.good("/v1/rerank", {{"query", ""}, {"documents", {"", ""}}});
  EXPECT_EQ(answer["results"][0]["index"], 0);  // ties by index
  EXPECT_EQ(answer["results"][1]["index"], 1);
}

TEST(JinaRerank, PrioritiesAndTimeLimits) {
  Served served({"xlmr-ce"});
  expect_status(served.post("/v1/rerank", with(kBody, {{"priority", -5}})), 200);
  expect_status(served.post("/v1/rerank", with(kBody, {{"timeout_ms", 60000}})), 200);
  expect_status(served.post("/v1/rerank", with(kBody, {{"timeout_ms", 0}})), 400);
  expect_status(served.post("/v1/rerank", with(kBody, {{"priority", "high"}})), 400);
}

TEST(JinaRerank, ErrorsHaveADetail) {
  // LangChain and Haystack read resp["detail"] where there are no results.
  Served served({"xlmr-ce"});
  for (const Json& body :
       {Json({{"query", "a"}}), Json({{"documents", {"a"}}}),
        Json({{"query", "a"}, {"documents", Json::array()}}),
        Json({{"query", "a"}, {"documents", {{{"image", "x"}}}}}),
        Json({{"query", 1}, {"documents", {"a"}}}), Json({{"query", "a"}, {"documents", "b"}}),
        Json({{"query", "a"}, {"documents", {nullptr}}})}) {
    const Response response = served.post("/v1/rerank", body);
    expect_status(response, 400);
    const Json error = Json::parse(response.body);
    EXPECT_TRUE(error["detail"].is_string());
    EXPECT_TRUE(error["message"].is_string());
  }
}

TEST(JinaRerank, SeveralModels) {
  Served served({"bert-bi-mean-norm", "xlmr-ce"});
  // A cross-encoder before an embedder, where none is named.
  EXPECT_EQ(served.good("/v1/rerank", kBody)["model"], "xlmr-ce");
  EXPECT_EQ(served.good("/v1/rerank", with(kBody, {{"model", "bert-bi-mean-norm"}}))["model"],
            "bert-bi-mean-norm");
  const Response unknown = served.post("/v1/rerank", with(kBody, {{"model", "nope"}}));
  expect_status(unknown, 404);
  EXPECT_NE(unknown.body.find("bert-bi-mean-norm, xlmr-ce"), std::string::npos);
}

TEST(NimRanking, LogitsInOrder) {
  Served served({"xlmr-ce"});
  Json passages = Json::array();
  for (const std::string& text : kPassages) passages.push_back({{"text", text}});
  const Json body = {{"model", "m"}, {"query", {{"text", kQuery}}}, {"passages", passages}};
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  const Json answer = served.good("/v1/ranking", body);
  EXPECT_EQ(keys(answer), "rankings usage");
  ASSERT_EQ(answer["rankings"].size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(keys(answer["rankings"][i]), "index logit");
    EXPECT_EQ(answer["rankings"][i]["index"], expected[i].index);
    EXPECT_EQ(answer["rankings"][i]["logit"].get<float>(), expected[i].logit);
  }
  expect_status(served.post("/v1/ranking", {{"query", "a"}, {"passages", passages}}), 400);
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word ";
  Json longer = {{"query", {{"text", "a"}}}, {"passages", {{{"text", text}}}}};
  expect_status(served.post("/v1/ranking", longer), 200);
  longer["truncate"] = "NONE";
  expect_status(served.post("/v1/ranking", longer), 400);
}

}  // namespace
}  // namespace tamis::server
