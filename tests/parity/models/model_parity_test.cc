// Small models of every shape and form against transformers: ids, truncation, logits, embeddings,
// on the ref device and on each instruction set that this machine has.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "golden.h"
#include "tamis/embedder.h"
#include "tamis/reranker.h"
#include "tamis/tokenizer.h"

namespace tamis {
namespace {

constexpr double kLogitTolerance = 1e-4;

std::vector<LoadOptions> devices() {
  std::vector<LoadOptions> out;
  LoadOptions ref;
  ref.device = "ref";
  out.push_back(ref);
  for (const std::string& isa : supported_isas()) {
    LoadOptions cpu;
    cpu.isa = isa;
    cpu.threads = 2;
    out.push_back(cpu);
  }
  return out;
}

class ModelParity : public testing::TestWithParam<std::filesystem::path> {
 protected:
  Golden golden_ = read_golden(GetParam());
};

TEST_P(ModelParity, IdsAndTypesAreTheReferences) {
  const Tokenizer tokenizer = Tokenizer::load(golden_.directory);
  for (const GoldenCase& c : golden_.cases) {
    const TokenizedInput got = golden_.cross_encoder
                                   ? tokenizer.encode_pair(c.query, c.passage, c.max_length)
                                   : tokenizer.encode(c.text, c.max_length);
    EXPECT_EQ(got.ids, c.ids) << c.query << c.text;
    EXPECT_EQ(got.truncated, c.truncated) << c.query << c.text;
    if (!c.type_ids.empty()) {
      EXPECT_EQ(got.type_ids, c.type_ids);
    }
  }
}

TEST_P(ModelParity, LogitsAreTheReferences) {
  if (!golden_.cross_encoder) GTEST_SKIP() << "an embedder has no logits";
  for (const LoadOptions& device : devices()) {
    const Reranker reranker = Reranker::load(golden_.directory, device);
    for (const GoldenCase& c : golden_.cases) {
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

TEST_P(ModelParity, EmbeddingsAreTheReferences) {
  if (golden_.cross_encoder) GTEST_SKIP() << "a cross-encoder has no embeddings";
  for (const LoadOptions& device : devices()) {
    const Embedder embedder = Embedder::load(golden_.directory, device);
    for (const GoldenCase& c : golden_.cases) {
      EmbedOptions options;
      options.max_length = c.max_length;
      const std::string_view text = c.text;
      const Embeddings got = embedder.embed(std::span(&text, 1), options);
      ASSERT_EQ(got.dimension, c.values.size());
      EXPECT_EQ(got.tokens[0], c.ids.size());
      double dot = 0, aa = 0, bb = 0;
      for (size_t i = 0; i < c.values.size(); ++i) {
        EXPECT_NEAR(got.values[i], c.values[i], kLogitTolerance) << device.device << device.isa;
        dot += got.values[i] * c.values[i];
        aa += static_cast<double>(got.values[i]) * got.values[i];
        bb += c.values[i] * c.values[i];
      }
      EXPECT_GE(dot / std::sqrt(aa * bb), 0.999999) << c.text;
    }
  }
}

std::string model_name(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name = info.param.filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ModelParity, testing::ValuesIn(fixture_models()), model_name);

}  // namespace
}  // namespace tamis
