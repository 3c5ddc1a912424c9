// POST /v2/rerank's errors, /v1/embed and /v2/embed.

#include <cmath>

#include "dto/base64.h"
#include "served.h"

namespace tamis::server {
namespace {

const std::vector<std::string> kTexts = {"pandas live in China", "a llama"};

EmbedOptions unit_length() {
  EmbedOptions out;
  out.normalize = true;
  return out;
}

TEST(CohereRerank, ErrorsAreAMessage) {
  Served served({"xlmr-ce"});
  const Response response = served.post("/v2/rerank", {{"query", "a"}, {"documents", Json()}});
  expect_status(response, 400);
  EXPECT_EQ(keys(Json::parse(response.body)), "message");
}

TEST(CohereEmbed, EveryType) {
  Served served({"xlmr-bi-mean"});
  const Embeddings expected = reference_vectors("xlmr-bi-mean", kTexts, unit_length());
  const Json answer =
      served.good("/v2/embed",
                  {{"texts", kTexts},
                   {"model", "embed-v4"},
                   {"input_type", "search_document"},
                   {"embedding_types", {"float", "int8", "uint8", "binary", "ubinary", "base64"}}});
  EXPECT_EQ(keys(answer), "embeddings id meta model response_type texts");
  EXPECT_EQ(answer["response_type"], "embeddings_by_type");
  EXPECT_EQ(answer["texts"], Json(kTexts));
  EXPECT_EQ(answer["meta"]["api_version"]["version"], "2");
  EXPECT_TRUE(answer["meta"]["billed_units"]["input_tokens"].is_number_integer());
  const Json& by = answer["embeddings"];
  EXPECT_EQ(keys(by), "base64 binary float int8 ubinary uint8");
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const auto row = expected.row(i);
    expect_row(by["float"][i], row);
    EXPECT_EQ(by["base64"][i], base64(row));
    ASSERT_EQ(by["int8"][i].size(), row.size());
    ASSERT_EQ(by["ubinary"][i].size(), (row.size() + 7) / 8);
    for (size_t j = 0; j < row.size(); ++j) {
      const int value = static_cast<int>(std::lround(row[j] * 127));
      EXPECT_EQ(by["int8"][i][j], value);
      EXPECT_EQ(by["uint8"][i][j], value + 128);
      const int byte = by["ubinary"][i][j / 8];
      EXPECT_EQ((byte >> (7 - j % 8) & 1) == 1, row[j] > 0);
      EXPECT_EQ(by["binary"][i][j / 8], byte - 128);
    }
  }
}

TEST(CohereEmbed, FloatsWhereNothingIsSaid) {
  Served served({"xlmr-bi-mean"});
  const Embeddings expected = reference_vectors("xlmr-bi-mean", kTexts, unit_length());
  const Json second = served.good("/v2/embed", {{"texts", kTexts}, {"embedding_types", nullptr}});
  EXPECT_EQ(keys(second["embeddings"]), "float");
  const Json first = served.good("/v1/embed", {{"texts", kTexts}});
  EXPECT_EQ(first["response_type"], "embeddings_floats");
  expect_row(first["embeddings"][1], expected.row(1));
  const Json named = served.good("/v1/embed", {{"texts", kTexts}, {"embedding_types", {"int8"}}});
  EXPECT_EQ(keys(named["embeddings"]), "int8");
}

TEST(CohereEmbed, LengthsAndDimensions) {
  Served served({"xlmr-bi-mean"});
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word" + std::to_string(i) + " ";
  const auto vector = [&](const Json& more) {
    Json body = {{"texts", {text}}};
    body.update(more);
    return served.good("/v2/embed", body)["embeddings"]["float"][0];
  };
  EmbedOptions options = unit_length();
  options.dimension = 8;
  expect_row(vector({{"output_dimension", 8}}),
             reference_vectors("xlmr-bi-mean", {text}, options).row(0));
  options = unit_length();
  options.max_length = 10;
  expect_row(vector({{"max_tokens", 10}}),
             reference_vectors("xlmr-bi-mean", {text}, options).row(0));
  options.keep_end = true;
  expect_row(vector({{"max_tokens", 10}, {"truncate", "START"}}),
             reference_vectors("xlmr-bi-mean", {text}, options).row(0));
  expect_status(served.post("/v2/embed", {{"texts", {text}}, {"truncate", "NONE"}}), 400);
}

TEST(CohereEmbed, Errors) {
  Served served({"xlmr-bi-mean"});
  for (const Json& body :
       {Json({{"texts", Json::array()}}), Json::object(),
        Json({{"texts", {"a"}}, {"embedding_types", {"int4"}}}),
        Json({{"texts", {"a"}}, {"truncate", "MIDDLE"}}), Json({{"images", {"data:"}}}),
        Json({{"texts", {"a"}}, {"input_type", 7}})}) {
    const Response response = served.post("/v2/embed", body);
    expect_status(response, 400);
    EXPECT_EQ(keys(Json::parse(response.body)), "message");
  }
}

}  // namespace
}  // namespace tamis::server
