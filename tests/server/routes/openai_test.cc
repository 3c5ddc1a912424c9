// POST /v1/embeddings.

#include <cstring>

#include "served.h"

namespace tamis::server {
namespace {

const std::vector<std::string> kTexts = {"pandas live in China", "", "a llama"};

std::vector<float> from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t word = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    word = word << 6 | static_cast<uint32_t>(digits.find(c));
    if ((bits += 6) < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(word >> bits & 0xFF);
  }
  std::vector<float> out(bytes.size() / 4);
  std::memcpy(out.data(), bytes.data(), out.size() * 4);
  return out;
}

TEST(OpenAiEmbeddings, Floats) {
  Served served({"bert-bi-mean-norm"});
  const Embeddings expected = reference_vectors("bert-bi-mean-norm", kTexts);
  for (const char* path : {"/v1/embeddings", "/embeddings"}) {
    const Json answer = served.good(path, {{"input", kTexts}, {"model", "m"}, {"user", "me"}});
    EXPECT_EQ(keys(answer), "data model object usage");
    EXPECT_EQ(answer["object"], "list");
    EXPECT_EQ(answer["model"], "bert-bi-mean-norm");
    EXPECT_EQ(keys(answer["usage"]), "prompt_tokens total_tokens");
    ASSERT_EQ(answer["data"].size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(keys(answer["data"][i]), "embedding index object");
      EXPECT_EQ(answer["data"][i]["object"], "embedding");
      EXPECT_EQ(answer["data"][i]["index"], i);
      expect_row(answer["data"][i]["embedding"], expected.row(i));
    }
  }
}

TEST(OpenAiEmbeddings, Base64IsWhatThePythonClientAsksFor) {
  Served served({"bert-bi-mean-norm"});
  const Embeddings expected = reference_vectors("bert-bi-mean-norm", kTexts);
  const Json answer =
      served.good("/v1/embeddings", {{"input", kTexts}, {"encoding_format", "base64"}});
  for (size_t i = 0; i < 3; ++i) {
    const auto row = expected.row(i);
    EXPECT_EQ(from_base64(answer["data"][i]["embedding"]),
              std::vector<float>(row.begin(), row.end()));
  }
}

TEST(OpenAiEmbeddings, OneText) {
  Served served({"bert-bi-cls"});
  const Json answer = served.good("/v1/embeddings", {{"input", "a llama"}});
  expect_row(answer["data"][0]["embedding"], reference_vectors("bert-bi-cls", {"a llama"}).row(0));
}

TEST(OpenAiEmbeddings, Dimensions) {
  Served served({"bert-bi-mean-norm"});
  const Json answer = served.good("/v1/embeddings", {{"input", "a"}, {"dimensions", 8}});
  expect_row(answer["data"][0]["embedding"],
             reference_vectors("bert-bi-mean-norm", {"a"}, {.dimension = 8}).row(0));
  EXPECT_EQ(served.good("/v1/embeddings", {{"input", "a"}, {"dimensions", 0}})["data"],
            served.good("/v1/embeddings", {{"input", "a"}})["data"]);
  expect_status(served.post("/v1/embeddings", {{"input", "a"}, {"dimensions", -1}}), 400);
  expect_status(served.post("/v1/embeddings", {{"input", "a"}, {"dimensions", 4096}}), 400);
}

TEST(OpenAiEmbeddings, IdsOfThisModelAreTaken) {
  Served served({"bert-bi-mean-norm"});
  const auto ids = loaded("bert-bi-mean-norm")->tokenizer().encode("pandas live").ids;
  const Embeddings expected = reference_vectors("bert-bi-mean-norm", {"pandas live"});
  const Json one = served.good("/v1/embeddings", {{"input", ids}});
  ASSERT_EQ(one["data"].size(), 1u);
  expect_row(one["data"][0]["embedding"], expected.row(0));
  const Json two = served.good("/v1/embeddings", {{"input", {ids, ids}}});
  ASSERT_EQ(two["data"].size(), 2u);
  expect_row(two["data"][1]["embedding"], expected.row(0));
}

TEST(OpenAiEmbeddings, IdsOfAnotherVocabularyAreRefused) {
  // LangChain's OpenAIEmbeddings sends tiktoken's ids unless it is told not to.
  Served served({"bert-bi-mean-norm"});
  const auto own = loaded("bert-bi-mean-norm")->tokenizer().encode("pandas").ids;
  std::vector<int32_t> bare(own.begin() + 1, own.end() - 1);
  std::vector<int32_t> large = own;
  large[1] = 100000;
  for (const Json& input :
       {Json(bare), Json({bare}), Json(large), Json({own, bare}), Json({9906, 1917})}) {
    const Response response = served.post("/v1/embeddings", {{"input", input}});
    expect_status(response, 400);
    const std::string message = Json::parse(response.body)["error"]["message"];
    EXPECT_NE(message.find("check_embedding_ctx_length=False"), std::string::npos) << message;
    EXPECT_NE(message.find("/tokenize"), std::string::npos);
    EXPECT_NE(message.find("vocabulary"), std::string::npos);
  }
}

TEST(OpenAiEmbeddings, Errors) {
  Served served({"bert-bi-mean-norm"});
  const auto said = [&](const Json& body) {
    const Response response = served.post("/v1/embeddings", body);
    expect_status(response, 400);
    const Json error = Json::parse(response.body)["error"];
    EXPECT_EQ(keys(error), "code message param type");
    EXPECT_EQ(error["type"], "invalid_request_error");
    return error["param"].is_null() ? "" : error["param"].get<std::string>();
  };
  EXPECT_EQ(said({{"model", "m"}}), "input");
  EXPECT_EQ(said({{"input", Json::array()}}), "input");
  EXPECT_EQ(said({{"input", 7}}), "input");
  EXPECT_EQ(said({{"input", {"a", 1}}}), "input[1]");
  EXPECT_EQ(said({{"input", {1, "a"}}}), "input[1]");
  EXPECT_EQ(said({{"input", {Json::array()}}}), "input[0]");
  EXPECT_EQ(said({{"input", {{1, 2}, "a"}}}), "input[1]");
  EXPECT_EQ(said({{"input", {-1}}}), "input");
  EXPECT_EQ(said({{"input", "a"}, {"encoding_format", "hex"}}), "encoding_format");
  EXPECT_EQ(said({{"input", "a"}, {"model", 7}}), "model");
}

TEST(OpenAiEmbeddings, AModelThatGivesNoVectors) {
  for (const char* name : {"xlmr-ce", "xlmr-bi-mlm"}) {
    Served served({name});
    const Response response = served.post("/v1/embeddings", {{"input", "a"}});
    expect_status(response, 400);
    EXPECT_EQ(Json::parse(response.body)["error"]["code"], "wrong_model");
  }
}

TEST(OpenAiEmbeddings, ManyTexts) {
  Served served({"bert-bi-cls"});
  EXPECT_EQ(served.good("/v1/embeddings", {{"input", std::vector<std::string>(3000, "a")}})["data"]
                .size(),
            3000u);
}

}  // namespace
}  // namespace tamis::server
