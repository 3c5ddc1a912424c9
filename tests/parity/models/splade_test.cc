// SPLADE against transformers (tools/golden/make_splade_goldens.py), on the ref device, on each
// instruction set that this machine has and on a simulated accelerator.

#include <gtest/gtest.h>

#include <algorithm>

#include "golden.h"
#include "tamis/embedder.h"
#include "tamis/error.h"
#include "tamis/reranker.h"

namespace tamis {
namespace {

const std::filesystem::path kSource = TAMIS_SOURCE_DIR;

std::filesystem::path directory_of(const std::string& model) {
  const auto fixture = kSource / "tests/fixtures/models" / model;
  return std::filesystem::exists(fixture) ? fixture : kSource / ".cache/models" / model;
}

std::vector<LoadOptions> devices() {
  std::vector<LoadOptions> out = every_device();
  for (LoadOptions& options : out) options.pooling = Pooling::kSplade;
  return out;
}

EmbedOptions sparse_only(size_t max_length) {
  EmbedOptions options;
  options.max_length = max_length;
  options.dense = false;
  options.sparse = true;
  return options;
}

class Splade : public testing::TestWithParam<std::string> {};

TEST_P(Splade, WeightsAreThoseOfTransformers) {
  const auto directory = directory_of(GetParam());
  if (!std::filesystem::exists(directory)) {
    GTEST_SKIP() << ".cache/models/" << GetParam() << " is not there";
  }
  const auto path = kSource / "tests/golden/splade.json";
  const auto document = io::JsonDocument::parse(io::read_text_file(path), path.string());
  size_t compared = 0;
  for (const auto& model : document.root().at("models").elements("models")) {
    if (model.at("model").string("model") != GetParam()) continue;
    for (const LoadOptions& device : devices()) {
      const Embedder embedder = Embedder::load(directory, device);
      EXPECT_EQ(embedder.info().pooling, "splade");
      for (const auto& entry : model.at("cases").elements("cases")) {
        const std::string text(entry.at("text").string("text"));
        const std::string where = device.device + " " + device.isa + ": " + text;
        const std::string_view view = text;
        const auto max_length = static_cast<size_t>(entry.at("max_length").integer("max_length"));
        const Embeddings got = embedder.embed({&view, 1}, sparse_only(max_length));
        ASSERT_EQ(got.sparse.size(), 1u);
        const SparseVector& weights = got.sparse[0];
        // A logit next to 0 may fall on either side.
        EXPECT_NEAR(static_cast<double>(weights.ids.size()),
                    static_cast<double>(entry.at("positive").integer("positive")), 1)
            << where;
        for (const auto& [id, weight] : entry.at("weights").members("weights")) {
          const auto at =
              std::lower_bound(weights.ids.begin(), weights.ids.end(), std::stoi(std::string(id)));
          ASSERT_TRUE(at != weights.ids.end() && std::to_string(*at) == id)
              << where << " id " << id;
          EXPECT_NEAR(weights.weights[static_cast<size_t>(at - weights.ids.begin())],
                      weight.number("weight"), 1e-4)
              << where << " id " << id;
          ++compared;
        }
      }
    }
  }
  EXPECT_GT(compared, 0u);
}

std::string param_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, Splade,
                         testing::Values("bert-bi-cls", "xlmr-bi-mlm", "splade-tiny"), param_name);

TEST(SpladeRules, ManyTextsAreWhatEachIsAlone) {
  LoadOptions load;
  load.pooling = Pooling::kSplade;
  const Embedder embedder = Embedder::load(directory_of("bert-bi-cls"), load);
  std::vector<std::string> texts;
  for (int i = 0; i < 600; ++i) texts.push_back("the cat number " + std::to_string(i % 7));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  size_t last = 0;
  EmbedOptions options = sparse_only(0);
  options.progress = [&](size_t done, size_t total) {
    EXPECT_GE(done, last);
    EXPECT_EQ(total, texts.size());
    last = done;
  };
  RunStats stats;
  const Embeddings all = embedder.embed(views, options, &stats);
  EXPECT_EQ(last, texts.size());
  EXPECT_EQ(stats.sequences, texts.size());
  ASSERT_EQ(all.sparse.size(), texts.size());
  for (size_t i = 0; i < 7; ++i) {
    const Embeddings one = embedder.embed({&views[i], 1}, sparse_only(0));
    EXPECT_EQ(all.sparse[i].ids, one.sparse[0].ids);
    EXPECT_EQ(all.sparse[i + 588].ids, one.sparse[0].ids);  // of the third window
  }
}

TEST(SpladeRules, GivesLexicalWeightsAndNothingElse) {
  LoadOptions load;
  load.pooling = Pooling::kSplade;
  const Embedder embedder = Embedder::load(directory_of("bert-bi-cls"), load);
  const std::vector<std::string_view> texts = {"a text"};
  EXPECT_THROW(embedder.embed(texts), Error);
  EXPECT_THROW(Embedder::load(directory_of("xlmr-m3"), load), Error);  // has no such head
  EXPECT_THROW(Reranker::load(directory_of("bert-bi-cls"), load), Error);
}

}  // namespace
}  // namespace tamis
