// /v1/score, /v1/encode and /v1/hybrid.

#include "served.h"

namespace tamis::server {
namespace {

void expect_account(const Json& answer) {
  EXPECT_EQ(keys(answer["usage"]), "tokens truncated utf8_replacements");
  EXPECT_GT(answer["usage"]["tokens"], 0);
  EXPECT_EQ(keys(answer["timings"]), "inference_ms queue_ms tokenize_ms total_ms");
  for (const auto& [name, ms] : answer["timings"].items()) EXPECT_GE(ms.get<double>(), 0) << name;
}

std::string field_of(const Response& response) {
  expect_status(response, 400);
  return Json::parse(response.body)["error"].value("field", "");
}

TEST(Score, EverythingThatTheLibrarySays) {
  Served served({"xlmr-ce"});
  const auto expected = reference("xlmr-ce", kQuery, kPassages);
  const Json answer = served.good(
      "/v1/score", {{"query", kQuery}, {"passages", kPassages}, {"return_texts", true}});
  EXPECT_EQ(keys(answer), "model results timings usage");
  expect_account(answer);
  ASSERT_EQ(answer["results"].size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const Json& result = answer["results"][i];
    EXPECT_EQ(keys(result), "chunks index logit score text tokens truncated");
    EXPECT_EQ(result["index"], expected[i].index);
    EXPECT_EQ(result["logit"].get<float>(), expected[i].logit);
    EXPECT_EQ(result["score"].get<double>(), expected[i].score);
    EXPECT_EQ(result["tokens"], expected[i].tokens);
    EXPECT_EQ(result["truncated"], false);
    EXPECT_EQ(result["chunks"], 1);
    EXPECT_EQ(result["text"], kPassages[expected[i].index]);
  }
}

TEST(Score, LengthsAndChunks) {
  Served served({"xlmr-ce"});
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word" + std::to_string(i) + " ";
  const auto first = [&](const Json& more) {
    const Json body = {{"query", "a b c d e f"}, {"passages", {text}}};
    return served.good("/v1/score", with(body, more))["results"][0];
  };
  const Json cut = first({{"max_length", 20}, {"query_max_length", 3}});
  EXPECT_EQ(cut["tokens"], 20);
  EXPECT_EQ(cut["truncated"], true);
  EXPECT_EQ(cut["logit"].get<float>(), reference("xlmr-ce", "a b c d e f", {text},
                                                 {.max_length = 20, .query_max_length = 3})[0]
                                           .logit);
  EXPECT_GT(first({{"long", "chunk"}})["chunks"], 1);
  EXPECT_FALSE(first({}).contains("text"));
}

TEST(Score, PairsStayInTheirOrder) {
  Served served({"xlmr-ce"});
  const Json answer =
      served.good("/v1/score", {{"pairs", Json::parse(R"([["a","b"],["c","d"],["a",""]])")}});
  ASSERT_EQ(answer["results"].size(), 3u);
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"a", "b"}, {"c", "d"}, {"a", ""}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(answer["results"][i]["index"], i);
    EXPECT_EQ(answer["results"][i]["logit"].get<float>(),
              reference("xlmr-ce", pairs[i].first, {pairs[i].second})[0].logit);
  }
}

TEST(Score, LabelsOfAClassifier) {
  Served served({"bert-ce-labels2"});
  const auto expected = reference("bert-ce-labels2", "a", {"b"})[0];
  const Json labels =
      served.good("/v1/score", {{"query", "a"}, {"passages", {"b"}}})["results"][0]["labels"];
  ASSERT_EQ(labels.size(), 2u);
  EXPECT_EQ(labels[1]["label"], "relevant");
  EXPECT_EQ(labels[1]["logit"].get<float>(), expected.logits[1]);
}

TEST(Score, Errors) {
  Served served({"xlmr-ce"});
  const auto field = [&](const char* body) {
    return field_of(served.send("POST", "/v1/score", body));
  };
  EXPECT_EQ(field(R"({"query":"a"})"), "passages");
  EXPECT_EQ(field(R"({"passages":["a"]})"), "query");
  EXPECT_EQ(field(R"({"query":"a","passages":[]})"), "passages");
  EXPECT_EQ(field(R"({"query":"a","passages":["b",{}]})"), "passages[1]");
  EXPECT_EQ(field(R"({"pairs":[["a"]]})"), "pairs[0]");
  EXPECT_EQ(field(R"({"pairs":["a"]})"), "pairs[0]");
  EXPECT_EQ(field(R"({"pairs":[["a",1]]})"), "pairs[0][1]");
  EXPECT_EQ(field(R"({"pairs":[["a","b"]],"query":"c"})"), "query");
  EXPECT_EQ(field(R"({"pairs":[["a","b"]],"top_n":1})"), "top_n");
  EXPECT_EQ(field(R"({"query":"a","passages":["b"],"long":"cut"})"), "long");
  EXPECT_EQ(field(R"({"query":"a","passages":["b"],"max_length":-1})"), "max_length");
}

TEST(Encode, AllThreeOfBgeM3InOneCall) {
  Served served({"xlmr-m3"});
  const std::vector<std::string> texts = {"pandas live in China", "a llama"};
  EmbedOptions options;
  options.sparse = options.colbert = true;
  const Embeddings expected = reference_vectors("xlmr-m3", texts, options);
  const Json answer =
      served.good("/v1/encode", {{"texts", texts}, {"sparse", true}, {"colbert", true}});
  expect_account(answer);
  for (size_t i = 0; i < 2; ++i) {
    const Json& one = answer["data"][i];
    EXPECT_EQ(keys(one), "colbert dense index sparse tokens");
    EXPECT_EQ(one["tokens"], expected.tokens[i]);
    expect_row(one["dense"], expected.row(i));
    EXPECT_EQ(one["sparse"]["ids"], Json(expected.sparse[i].ids));
    expect_row(one["sparse"]["weights"], expected.sparse[i].weights);
    const int32_t id = expected.sparse[i].ids[0];
    EXPECT_EQ(one["sparse"]["tokens"][0], loaded("xlmr-m3")->tokenizer().id_to_token(id));
    const TokenVectorsView vectors = expected.colbert(i);
    ASSERT_EQ(one["colbert"].size(), vectors.count());
    expect_row(one["colbert"][0], vectors.values.first(vectors.dimension));
  }
  const Json dense = served.good("/v1/encode", {{"texts", texts}});
  EXPECT_EQ(keys(dense["data"][0]), "dense index tokens");
}

TEST(Encode, OfSplade) {
  Served served({"xlmr-bi-mlm"});
  const Json answer =
      served.good("/v1/encode", {{"texts", {"a llama"}}, {"dense", false}, {"sparse", true}});
  EXPECT_EQ(keys(answer["data"][0]), "index sparse tokens");
}

TEST(Encode, Errors) {
  Served served({"bert-bi-cls"});
  EXPECT_EQ(field_of(served.post("/v1/encode", {{"texts", "a"}})), "texts");
  EXPECT_EQ(field_of(served.post("/v1/encode", {{"texts", {"a"}}, {"dense", 1}})), "dense");
  EXPECT_EQ(field_of(served.post("/v1/encode", {{"texts", {"a"}}, {"colbert", true}})), "model");
  expect_status(served.post("/v1/encode", {{"texts", {"a"}}, {"dense", false}}), 400);
  expect_status(served.post("/v1/encode", {{"texts", {"a"}}, {"long", "chunk"}}), 400);
}

TEST(Hybrid, ScoresOfBgeM3) {
  Served served({"xlmr-m3"});
  std::vector<TextPair> pairs;
  for (const std::string& passage : kPassages) pairs.push_back({kQuery, passage});
  HybridOptions options;
  options.dense_weight = 0.4;
  options.sparse_weight = 0.2;
  options.colbert_weight = 0.4;
  const auto expected = loaded("xlmr-m3")->embedder()->score(pairs, options);
  const Json answer = served.good(
      "/v1/hybrid", {{"query", kQuery}, {"passages", kPassages}, {"weights", {0.4, 0.2, 0.4}}});
  expect_account(answer);
  ASSERT_EQ(answer["results"].size(), expected.size());
  double last = 1e9;
  for (const Json& result : answer["results"]) {
    EXPECT_EQ(keys(result), "all colbert dense index sparse sparse_dense");
    const HybridScore& score = expected[result["index"].get<size_t>()];
    EXPECT_EQ(result["dense"].get<double>(), score.dense);
    EXPECT_EQ(result["sparse"].get<double>(), score.sparse);
    EXPECT_EQ(result["colbert"].get<double>(), score.colbert);
    EXPECT_EQ(result["all"].get<double>(), score.all);
    EXPECT_LE(score.all, last);
    last = score.all;
  }
  const Json two =
      served.good("/v1/hybrid", {{"query", "a"}, {"passages", kPassages}, {"top_n", 2}});
  EXPECT_EQ(two["results"].size(), 2u);
  const Json in_order =
      served.good("/v1/hybrid", {{"pairs", Json::parse(R"([["a","b"],["c","d"]])")}});
  EXPECT_EQ(in_order["results"][1]["index"], 1);
}

TEST(Hybrid, Errors) {
  Served served({"xlmr-m3"});
  const auto field = [&](const Json& weights) {
    return field_of(
        served.post("/v1/hybrid", {{"query", "a"}, {"passages", {"b"}}, {"weights", weights}}));
  };
  EXPECT_EQ(field({1, 2}), "weights");
  EXPECT_EQ(field("heavy"), "weights");
  EXPECT_EQ(field({1, 2, "3"}), "weights[2]");
  EXPECT_EQ(field({1, -1, 0}), "weights[1]");
  EXPECT_EQ(field({1e308, 1, 1}), "weights[0]");
  EXPECT_EQ(field({0, 0, 0}), "");
  Served other({"bert-bi-cls"});
  expect_status(other.post("/v1/hybrid", {{"query", "a"}, {"passages", {"b"}}}), 400);
}

}  // namespace
}  // namespace tamis::server
