// Small models of every shape and form against transformers: ids, truncation, logits, embeddings,
// on the ref device and on each instruction set that this machine has.

#include <gtest/gtest.h>

#include "golden.h"
#include "tamis/embedder.h"
#include "tamis/reranker.h"
#include "tamis/tokenizer.h"

namespace tamis {
namespace {

constexpr double kLogitTolerance = 1e-4;

/// Ids, types and truncation of every case, before any model runs.
void expect_same_ids(const Golden& golden) {
  const Tokenizer tokenizer = Tokenizer::load(golden.directory);
  for (const GoldenCase& c : golden.cases) {
    const TokenizedInput got = golden.cross_encoder
                                   ? tokenizer.encode_pair(c.query, c.passage, c.max_length)
                                   : tokenizer.encode(c.text, c.max_length);
    EXPECT_EQ(got.ids, c.ids) << c.query << c.text;
    EXPECT_EQ(got.truncated, c.truncated) << c.query << c.text;
    if (!c.type_ids.empty()) {
      EXPECT_EQ(got.type_ids, c.type_ids) << c.query << c.text;
    }
  }
}

class CrossEncoder : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(CrossEncoder, IdsAreTheReferences) { expect_same_ids(read_golden(GetParam())); }

TEST_P(CrossEncoder, LogitsAreTheReferences) {
  const Golden golden = read_golden(GetParam());
  for (const LoadOptions& device : every_device()) {
    const Reranker reranker = Reranker::load(golden.directory, device);
    for (const GoldenCase& c : golden.cases) {
      RerankOptions options;
      options.max_length = c.max_length;
      const std::string_view passage = c.passage;
      const auto results = reranker.rerank(c.query, std::span(&passage, 1), options);
      ASSERT_EQ(results.size(), 1u);
      EXPECT_EQ(results[0].tokens, c.ids.size());
      EXPECT_EQ(results[0].truncated, c.truncated);
      std::vector<float> logits = results[0].logits;
      if (logits.empty()) logits.push_back(results[0].logit);
      ASSERT_EQ(logits.size(), c.values.size());
      for (size_t i = 0; i < logits.size(); ++i) {
        EXPECT_NEAR(logits[i], c.values[i], kLogitTolerance)
            << device.device << " " << device.isa << " query: " << c.query;
      }
    }
  }
}

class BiEncoder : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(BiEncoder, IdsAreTheReferences) { expect_same_ids(read_golden(GetParam())); }

TEST_P(BiEncoder, EmbeddingsAreTheReferences) {
  const Golden golden = read_golden(GetParam());
  for (const LoadOptions& device : every_device()) {
    const Embedder embedder = Embedder::load(golden.directory, device);
    for (const GoldenCase& c : golden.cases) {
      EmbedOptions options;
      options.max_length = c.max_length;
      const std::string_view text = c.text;
      const Embeddings got = embedder.embed(std::span(&text, 1), options);
      EXPECT_EQ(got.tokens[0], c.ids.size());
      expect_same_vector(got.row(0), c.values, kLogitTolerance, 0.999999,
                         device.device + " " + device.isa + ": " + c.text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, CrossEncoder, testing::ValuesIn(fixture_models(true)),
                         model_name);
INSTANTIATE_TEST_SUITE_P(Fixtures, BiEncoder, testing::ValuesIn(fixture_models(false)), model_name);

}  // namespace
}  // namespace tamis
