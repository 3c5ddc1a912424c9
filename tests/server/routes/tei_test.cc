// TEI's own names, besides /rerank.

#include <cmath>

#include "served.h"
#include "tamis/similarity.h"

namespace tamis::server {
namespace {

const std::vector<std::string> kTexts = {"pandas live in China", "a llama"};

std::string type_of(const Response& response) {
  return std::to_string(response.status) + " " +
         Json::parse(response.body)["error_type"].get<std::string>();
}

TEST(TeiEmbed, AlwaysAListOfVectors) {
  Served served({"xlmr-bi-mean"});
  EmbedOptions unit;
  unit.normalize = true;  // TEI's default, whatever the model's directory says
  const Embeddings expected = reference_vectors("xlmr-bi-mean", kTexts, unit);
  const Json many = served.good("/embed", {{"inputs", kTexts}});
  ASSERT_EQ(many.size(), 2u);
  expect_row(many[0], expected.row(0));
  const Json one = served.good("/embed", {{"inputs", kTexts[1]}});
  ASSERT_EQ(one.size(), 1u);
  expect_row(one[0], expected.row(1));
  EmbedOptions plain;
  plain.normalize = false;
  const Json raw = served.good("/embed", {{"inputs", kTexts[1]}, {"normalize", false}});
  expect_row(raw[0], reference_vectors("xlmr-bi-mean", {kTexts[1]}, plain).row(0));
  unit.dimension = 4;
  const Json cut = served.good("/embed", {{"inputs", kTexts[1]}, {"dimensions", 4}});
  expect_row(cut[0], reference_vectors("xlmr-bi-mean", {kTexts[1]}, unit).row(0));
}

TEST(TeiEmbed, IdsAreThoseOfTokenize) {
  Served served({"xlmr-bi-mean"});
  Json ids = Json::array();
  const Json tokens = served.good("/tokenize", {{"inputs", kTexts[0]}});
  for (const Json& token : tokens[0]) ids.push_back(token["id"]);
  EXPECT_EQ(served.good("/embed", {{"inputs", ids}}),
            served.good("/embed", {{"inputs", kTexts[0]}}));
}

TEST(TeiEmbed, Errors) {
  Served served({"xlmr-bi-mean"});
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word ";
  EXPECT_EQ(type_of(served.post("/embed", {{"inputs", Json::array()}})), "400 Empty");
  EXPECT_EQ(type_of(served.post("/embed", {{"inputs", 1}})), "422 Validation");
  EXPECT_EQ(type_of(served.post("/embed", {{"inputs", text}, {"truncate", false}})),
            "422 Validation");
  EXPECT_EQ(type_of(served.post("/embed", {{"inputs", "a"}, {"prompt_name", "query"}})),
            "422 Validation");
  expect_status(served.post("/embed", {{"inputs", text}, {"prompt_name", nullptr}}), 200);
  Served other({"xlmr-ce"});
  EXPECT_EQ(type_of(other.post("/embed", {{"inputs", "a"}})), "424 Backend");
}

void expect_sparse(const Json& list, const SparseVector& expected) {
  ASSERT_EQ(list.size(), expected.ids.size());
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(keys(list[i]), "index value");
    EXPECT_EQ(list[i]["index"], expected.ids[i]);
    EXPECT_EQ(list[i]["value"].get<float>(), expected.weights[i]);
  }
}

TEST(TeiSparse, SpladeAndBgeM3) {
  EmbedOptions options;
  options.dense = false;
  options.sparse = true;
  for (const char* name : {"xlmr-bi-mlm", "xlmr-m3"}) {
    Served served({name});
    const Json answer = served.good("/embed_sparse", {{"inputs", kTexts}});
    const Embeddings expected = reference_vectors(name, kTexts, options);
    ASSERT_EQ(answer.size(), 2u);
    for (size_t i = 0; i < 2; ++i) expect_sparse(answer[i], expected.sparse[i]);
  }
  Served dense({"xlmr-bi-mean"});
  EXPECT_EQ(type_of(dense.post("/embed_sparse", {{"inputs", "a"}})), "424 Backend");
}

TEST(TeiSparse, OfSeveralModelsTheOneThatCan) {
  Served served({"xlmr-bi-mean", "xlmr-bi-mlm", "xlmr-ce"});
  expect_status(served.post("/embed_sparse", {{"inputs", "a"}}), 200);
  expect_status(served.post("/embed", {{"inputs", "a"}}), 200);
  expect_status(served.post("/predict", {{"inputs", {"a", "b"}}}), 200);
  expect_status(served.post("/embed_all", {{"inputs", "a"}}), 200);
}

TEST(TeiTokens, HiddenStatesOfEveryEmbedder) {
  for (const char* name : {"xlmr-m3", "xlmr-bi-mean", "bert-bi-cls"}) {
    Served served({name});
    EmbedOptions options;
    options.dense = false;
    options.hidden_states = true;
    const Embeddings expected = reference_vectors(name, kTexts, options);
    const Json answer = served.good("/embed_all", {{"inputs", kTexts}});
    ASSERT_EQ(answer.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      const TokenVectorsView vectors = expected.colbert(i);
      ASSERT_EQ(vectors.count(), expected.tokens[i]) << "special tokens too";
      ASSERT_EQ(answer[i].size(), vectors.count());
      for (size_t row = 0; row < vectors.count(); ++row) {
        expect_row(answer[i][row],
                   vectors.values.subspan(row * vectors.dimension, vectors.dimension));
      }
    }
  }
}

TEST(TeiTokens, NoMoreDimensionsThanThereAre) {
  Served served({"xlmr-bi-mean", "xlmr-ce"});
  EXPECT_EQ(served.good("/embed_all", {{"inputs", "a"}, {"dimensions", 4}})[0][0].size(), 4u);
  EXPECT_GE(served.post("/embed_all", {{"inputs", "a"}, {"dimensions", 99999}}).status, 400);
}

TEST(TeiTokens, FirstOfThemIsWhatClsPools) {
  Served served({"bert-bi-cls"});
  const Json states = served.good("/embed_all", {{"inputs", kTexts[0]}});
  const Json pooled = served.good("/embed", {{"inputs", kTexts[0]}, {"normalize", false}});
  EXPECT_EQ(states[0][0], pooled[0]);
}

TEST(TeiPredict, OneLabelIsASigmoid) {
  Served served({"xlmr-ce"});
  const auto expected = reference("xlmr-ce", "a", {"b"})[0];
  const Json one = served.good("/predict", {{"inputs", {"a", "b"}}});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0], Json({{"score", expected.score}, {"label", "LABEL_0"}}));
  const Json many = served.good(
      "/predict", {{"inputs", Json::parse(R"([["a","b"],["c","d"]])")}, {"raw_scores", true}});
  ASSERT_EQ(many.size(), 2u);
  EXPECT_EQ(many[0][0]["score"].get<float>(), expected.logit);
  EXPECT_EQ(many[1][0]["score"].get<float>(), reference("xlmr-ce", "c", {"d"})[0].logit);
}

TEST(TeiPredict, SeveralLabelsAreASoftmaxTheBestFirst) {
  Served served({"bert-ce-labels2"});
  const auto logits = reference("bert-ce-labels2", "a", {"b"})[0].logits;
  ASSERT_EQ(logits.size(), 2u);
  const Json answer = served.good("/predict", {{"inputs", {"a", "b"}}});
  ASSERT_EQ(answer.size(), 2u);
  const double first = answer[0]["score"], second = answer[1]["score"];
  EXPECT_NEAR(first + second, 1, 1e-12);
  EXPECT_GE(first, second);
  const double wanted = 1 / (1 + std::exp(static_cast<double>(logits[0]) - logits[1]));
  for (const Json& label : answer) {
    const double score = label["score"];
    EXPECT_NEAR(score, label["label"] == "relevant" ? wanted : 1 - wanted, 1e-9);
  }
}

TEST(TeiPredict, Errors) {
  Served served({"xlmr-ce"});
  EXPECT_EQ(type_of(served.post("/predict", {{"inputs", "alone"}})), "422 Validation");
  EXPECT_EQ(type_of(served.post("/predict", {{"inputs", {"a"}}})), "422 Validation");
  EXPECT_EQ(type_of(served.post("/predict", {{"inputs", {"a", "b", "c"}}})), "422 Validation");
  EXPECT_EQ(type_of(served.post("/predict", {{"inputs", Json::parse(R"([["a"]])")}})),
            "422 Validation");
  EXPECT_EQ(type_of(served.post("/predict", {{"inputs", Json::parse(R"([["a","b"],"c"])")}})),
            "422 Validation");
  EXPECT_EQ(type_of(served.post("/predict", {{"inputs", Json::array()}})), "400 Empty");
  Served embedder({"xlmr-bi-mean"});
  EXPECT_EQ(type_of(embedder.post("/predict", {{"inputs", {"a", "b"}}})), "424 Backend");
}

TEST(TeiSimilarity, CosinesInTheOrderOfTheSentences) {
  Served served({"bert-bi-mean-norm"});
  const Json answer = served.good(
      "/similarity", {{"inputs", {{"source_sentence", kQuery}, {"sentences", kPassages}}},
                      {"parameters", {{"truncate", true}}}});
  ASSERT_EQ(answer.size(), kPassages.size());
  for (const RerankResult& result : reference("bert-bi-mean-norm", kQuery, kPassages)) {
    EXPECT_EQ(answer[result.index].get<float>(), result.logit);
  }
  const auto post = [&](const Json& body) { return served.post("/similarity", body); };
  EXPECT_EQ(type_of(post({{"inputs", "a"}})), "422 Validation");
  EXPECT_EQ(type_of(post({{"inputs", {{"source_sentence", "a"}, {"sentences", Json::array()}}}})),
            "400 Empty");
  Served other({"xlmr-ce"});
  EXPECT_EQ(type_of(other.post("/similarity",
                               {{"inputs", {{"source_sentence", "a"}, {"sentences", {"b"}}}}})),
            "424 Backend");
}

TEST(TeiTokenize, IdsPiecesAndSpecialTokens) {
  Served served({"bert-bi-cls"});
  const Tokenizer& tokenizer = loaded("bert-bi-cls")->tokenizer();
  const auto ids = tokenizer.encode("a llama").ids;
  const Json answer = served.good("/tokenize", {{"inputs", "a llama"}});
  ASSERT_EQ(answer.size(), 1u);
  ASSERT_EQ(answer[0].size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const Json& token = answer[0][i];
    EXPECT_EQ(keys(token), "id special start stop text");
    EXPECT_EQ(token["id"], ids[i]);
    EXPECT_EQ(token["text"], tokenizer.id_to_token(ids[i]));
    EXPECT_EQ(token["special"], i == 0 || i + 1 == ids.size());
    EXPECT_TRUE(token["start"].is_null());
  }
  const Json bare =
      served.good("/tokenize", {{"inputs", {"a llama", ""}}, {"add_special_tokens", false}});
  EXPECT_EQ(bare[0].size(), ids.size() - 2);
  EXPECT_EQ(bare[1].size(), 0u);
  EXPECT_EQ(type_of(served.post("/tokenize", {{"inputs", 7}})), "422 Validation");
}

TEST(TeiDecode, TextsOfIds) {
  Served served({"bert-bi-cls"});
  const Tokenizer& tokenizer = loaded("bert-bi-cls")->tokenizer();
  const auto ids = tokenizer.encode("a llama").ids;
  const std::vector<int32_t> bare(ids.begin() + 1, ids.end() - 1);
  EXPECT_EQ(served.good("/decode", {{"ids", ids}}), Json({tokenizer.decode(bare)}));
  EXPECT_EQ(served.good("/decode", {{"ids", {ids, bare}}, {"skip_special_tokens", false}}),
            Json({tokenizer.decode(ids), tokenizer.decode(bare)}));
  EXPECT_EQ(served.good("/decode", {{"ids", {2000000000}}}), Json({""}));
  EXPECT_EQ(type_of(served.post("/decode", {{"ids", {-1}}})), "422 Validation");
  EXPECT_EQ(type_of(served.post("/decode", {{"ids", {99999999999}}})), "422 Validation");
}

TEST(TeiInfo, SaysWhatTheModelIsAndTheLimits) {
  Served reranker({"xlmr-ce"});
  const Json info = reranker.get("/info");
  EXPECT_EQ(info["served_model_name"], "xlmr-ce");
  EXPECT_EQ(info["model_dtype"], "float32");
  EXPECT_EQ(info["model_type"], Json::parse(R"({"reranker":{"id2label":{"0":"LABEL_0"},
                                                             "label2id":{"LABEL_0":0}}})"));
  EXPECT_EQ(info["max_concurrent_requests"], 512);
  EXPECT_EQ(info["max_body_bytes"], 1000);
  EXPECT_EQ(info["max_input_length"], loaded("xlmr-ce")->max_length(0));
  EXPECT_GE(info["max_client_batch_size"], 1000000);
  for (const char* key :
       {"model_id", "model_sha", "max_batch_tokens", "max_batch_requests", "auto_truncate",
        "tokenization_workers", "version", "sha", "docker_label"}) {
    EXPECT_TRUE(info.contains(key)) << key;
  }
  Served embedder({"xlmr-bi-mean"});
  EXPECT_EQ(embedder.get("/info")["model_type"], Json({{"embedding", {{"pooling", "mean"}}}}));
  Served classifier({"bert-ce-labels2"});
  EXPECT_EQ(classifier.get("/info")["model_type"]["classifier"]["id2label"]["1"], "relevant");
  Served nothing({});
  EXPECT_EQ(type_of(nothing.send("GET", "/info")), "503 Unhealthy");
}

}  // namespace
}  // namespace tamis::server
