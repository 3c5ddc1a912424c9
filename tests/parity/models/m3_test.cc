// BGE-M3's three outputs and its scores of pairs against FlagEmbedding 1.4.2
// (tools/golden/make_flag_goldens.py), on the ref device, on each instruction set that this machine
// has and on a simulated accelerator.

#include <gtest/gtest.h>

#include <map>

#include "golden.h"
#include "tamis/embedder.h"
#include "tamis/error.h"

namespace tamis {
namespace {

const std::filesystem::path kSource = TAMIS_SOURCE_DIR;

std::filesystem::path fixture(const std::string& name) {
  return kSource / "tests/fixtures/models" / name;
}

/// The calls that FlagEmbedding's BGEM3FlagModel was given, of the model with these arguments.
class M3 : public testing::Test {
 protected:
  M3()
      : path_(kSource / "tests/golden/flagembedding.json"),
        document_(io::JsonDocument::parse(io::read_text_file(path_), path_.string())) {
    for (const auto& model : document_.root().at("models").elements("models")) {
      if (model.at("class").string("class") == "M3Embedder") models_.push_back(model);
    }
  }

  /// Number `i` of the calls of this method.
  io::JsonValue call(size_t model, std::string_view method, size_t i) const {
    for (const auto& entry : models_.at(model).at("calls").elements("calls")) {
      if (entry.at("method").string("method") == method && i-- == 0) return entry;
    }
    throw std::out_of_range("no such call in the golden file");
  }

  std::filesystem::path path_;
  io::JsonDocument document_;
  std::vector<io::JsonValue> models_;
};

std::vector<std::string> strings(const io::JsonValue& value) {
  std::vector<std::string> out;
  for (const auto& x : value.elements("strings")) out.emplace_back(x.string("string"));
  return out;
}

std::vector<std::string_view> views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

void expect_encoded(const Embeddings& got, const io::JsonValue& want, const std::string& where) {
  const auto dense = numbers(want.at("dense_vecs").at("values"));
  ASSERT_EQ(got.values.size(), dense.size()) << where;
  for (size_t i = 0; i < dense.size(); ++i) EXPECT_NEAR(got.values[i], dense[i], 1e-5) << where;
  size_t text = 0;
  for (const auto& weights : want.at("lexical_weights").elements("lexical_weights")) {
    const SparseVector& sparse = got.sparse.at(text++);
    size_t at = 0;
    for (const auto& [id, weight] : weights.members("lexical_weights")) {
      ASSERT_LT(at, sparse.ids.size()) << where << ", text " << text;
      EXPECT_EQ(std::to_string(sparse.ids[at]), id) << where << ", text " << text;
      EXPECT_NEAR(sparse.weights[at++], weight.number("weight"), 1e-4) << where;
    }
    EXPECT_EQ(at, sparse.ids.size()) << where << ", text " << text;
  }
  EXPECT_EQ(text, got.count) << where;
  text = 0;
  for (const auto& vectors : want.at("colbert_vecs").elements("colbert_vecs")) {
    const auto values = numbers(vectors.at("values"));
    const TokenVectorsView colbert = got.colbert(text++);
    ASSERT_EQ(colbert.values.size(), values.size()) << where << ", text " << text;
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(colbert.values[i], values[i], 1e-4) << where << ", text " << text;
    }
  }
  EXPECT_EQ(text, got.count) << where;
}

TEST_F(M3, OnePassGivesAllThree) {
  const auto wanted = call(0, "encode", 1);
  const auto texts = strings(wanted.at("args").elements("args")[0]);
  for (const LoadOptions& device : every_device()) {
    const Embedder embedder = Embedder::load(fixture("xlmr-m3"), device);
    EXPECT_TRUE(embedder.info().sparse);
    EXPECT_EQ(embedder.info().colbert_dimension, 32);
    EmbedOptions options;
    options.max_length = 64;
    options.sparse = options.colbert = true;
    options.normalize = true;
    options.batch_tokens = 48;  // several batches
    RunStats stats;
    const Embeddings got = embedder.embed(views(texts), options, &stats);
    EXPECT_EQ(stats.sequences, texts.size());
    expect_encoded(got, wanted.at("result"), device.device + " " + device.isa);
  }
}

TEST_F(M3, CutVectorsOfMeanPoolingAreNotNormalised) {
  const auto wanted = call(1, "encode", 0);
  const auto texts = strings(wanted.at("args").elements("args")[0]);
  for (LoadOptions device : every_device()) {
    device.pooling = Pooling::kMean;
    const Embedder embedder = Embedder::load(fixture("xlmr-m3"), device);
    EmbedOptions options;
    options.max_length = 64;
    options.sparse = options.colbert = true;
    options.normalize = false;
    options.dimension = 12;
    const Embeddings got = embedder.embed(views(texts), options);
    EXPECT_EQ(got.dimension, 12u);
    EXPECT_EQ(got.colbert_dimension, 12u);
    expect_encoded(got, wanted.at("result"), device.device + " " + device.isa);
  }
}

TEST_F(M3, EachOutputAloneIsWhatItIsTogether) {
  const Embedder embedder = Embedder::load(fixture("xlmr-m3"));
  const std::vector<std::string_view> texts = {"the cat sat on the mat", "a drum", ""};
  EmbedOptions all;
  all.sparse = all.colbert = true;
  const Embeddings together = embedder.embed(texts, all);
  for (int which = 0; which < 3; ++which) {
    EmbedOptions one;
    one.dense = which == 0;
    one.sparse = which == 1;
    one.colbert = which == 2;
    const Embeddings got = embedder.embed(texts, one);
    EXPECT_EQ(got.values.empty(), which != 0);
    EXPECT_EQ(got.sparse.empty(), which != 1);
    EXPECT_EQ(got.colbert_values.empty(), which != 2);
    for (size_t i = 0; i < got.values.size(); ++i) {
      EXPECT_NEAR(got.values[i], together.values[i], 1e-5);
    }
    for (size_t i = 0; i < got.colbert_values.size(); ++i) {
      EXPECT_NEAR(got.colbert_values[i], together.colbert_values[i], 1e-5);
    }
    for (size_t i = 0; i < got.sparse.size(); ++i) {
      EXPECT_EQ(got.sparse[i].ids, together.sparse[i].ids);
    }
  }
}

TEST_F(M3, ScoresOfPairsAreFlagEmbeddings) {
  for (size_t number = 0; number < 3; ++number) {
    const auto wanted = call(0, "compute_score", number);
    std::vector<std::vector<std::string>> texts;
    for (const auto& pair : wanted.at("args").elements("args")[0].elements("pairs")) {
      texts.push_back(strings(pair));
    }
    std::vector<TextPair> pairs;
    for (const auto& pair : texts) pairs.push_back({pair[0], pair[1]});
    const auto kwargs = wanted.at("kwargs");
    HybridOptions options;
    options.max_query_length = static_cast<size_t>(kwargs.integer_or("max_query_length", 64));
    options.max_passage_length = static_cast<size_t>(kwargs.integer_or("max_passage_length", 64));
    options.embed.normalize = true;
    if (const auto weights = kwargs.find("weights_for_different_modes")) {
      const auto w = numbers(*weights);
      options.dense_weight = w[0];
      options.sparse_weight = w[1];
      options.colbert_weight = w[2];
    }
    for (const LoadOptions& device : every_device()) {
      const Embedder embedder = Embedder::load(fixture("xlmr-m3"), device);
      const std::vector<HybridScore> got = embedder.score(pairs, options);
      ASSERT_EQ(got.size(), pairs.size());
      const std::map<std::string, double HybridScore::*> members = {
          {"dense", &HybridScore::dense},
          {"sparse", &HybridScore::sparse},
          {"colbert", &HybridScore::colbert},
          {"sparse+dense", &HybridScore::sparse_dense},
          {"colbert+sparse+dense", &HybridScore::all}};
      for (const auto& [name, member] : members) {
        const auto want = numbers(wanted.at("result").at(name));
        for (size_t i = 0; i < want.size(); ++i) {
          EXPECT_NEAR(got[i].*member, want[i], 1e-4)
              << name << " of pair " << i << ", " << device.device << " " << device.isa;
        }
      }
    }
  }
}

std::string refused(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}

TEST_F(M3, AHeadThatIsNotThereIsAnError) {
  const Embedder embedder = Embedder::load(fixture("xlmr-bi-mean"));
  EXPECT_FALSE(embedder.info().sparse);
  EXPECT_EQ(embedder.info().colbert_dimension, 0);
  const std::vector<std::string_view> texts = {"a text"};
  EmbedOptions options;
  options.sparse = true;
  EXPECT_NE(refused([&] { embedder.embed(texts, options); }).find("sparse_linear.pt"),
            std::string::npos);
  options.sparse = false;
  options.colbert = true;
  EXPECT_NE(refused([&] { embedder.embed(texts, options); }).find("colbert_linear.pt"),
            std::string::npos);
}

TEST_F(M3, WhatCannotBeMeantIsRefused) {
  const Embedder embedder = Embedder::load(fixture("xlmr-m3"));
  const std::vector<std::string_view> texts = {"a text"};
  EmbedOptions nothing;
  nothing.dense = false;
  refused([&] { embedder.embed(texts, nothing); });
  EmbedOptions wide;
  wide.dimension = 33;
  EXPECT_NE(refused([&] { embedder.embed(texts, wide); }).find("32"), std::string::npos);
  const std::vector<TextPair> pairs = {{"a", "b"}};
  for (double weight : {-1.0, std::nan("")}) {
    HybridOptions options;
    options.sparse_weight = weight;
    refused([&] { embedder.score(pairs, options); });
  }
  HybridOptions zero;
  zero.dense_weight = zero.sparse_weight = zero.colbert_weight = 0;
  refused([&] { embedder.score(pairs, zero); });
  EXPECT_TRUE(embedder.score({}, {}).empty());
}

TEST_F(M3, HeadsMayBeSafetensors) {
  const auto copy = std::filesystem::path(testing::TempDir()) / "m3-safetensors";
  std::filesystem::remove_all(copy);
  std::filesystem::copy(fixture("xlmr-m3"), copy, std::filesystem::copy_options::recursive);
  std::filesystem::remove(copy / "sparse_linear.pt");
  EXPECT_FALSE(Embedder::load(copy).info().sparse);
  // {"bias": F32 [1] = 0, "weight": F32 [1, 32] = 1}: weights are relu of the sum of the vector.
  std::string header = R"({"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                       R"("weight":{"dtype":"F32","shape":[1,32],"data_offsets":[4,132]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::vector<float> values(33, 1.0f);
  values[0] = 0;
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  file += header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  std::FILE* out = std::fopen((copy / "sparse_linear.safetensors").c_str(), "wb");
  ASSERT_NE(out, nullptr);
  std::fwrite(file.data(), 1, file.size(), out);
  std::fclose(out);
  const Embedder embedder = Embedder::load(copy);
  EXPECT_TRUE(embedder.info().sparse);
  EmbedOptions options;
  options.sparse = true;
  const std::vector<std::string_view> texts = {"the cat sat on the mat"};
  EXPECT_FALSE(embedder.embed(texts, options).sparse[0].ids.empty());
}

TEST(Similarity, MaxSimIsTheMeanOfTheBestProducts) {
  for (const size_t dimension : {1u, 7u, 32u, 130u}) {
    for (const size_t passages : {1u, 5u, 16u, 33u}) {
      std::vector<float> q(3 * dimension), p(passages * dimension);
      uint32_t state = 1;
      for (auto* all : {&q, &p}) {
        for (float& x : *all) {
          state = state * 1664525u + 1013904223u;
          x = static_cast<float>(state >> 8) / (1 << 23) - 1.0f;
        }
      }
      double want = 0;
      for (size_t i = 0; i < 3; ++i) {
        double best = -1e9;
        for (size_t j = 0; j < passages; ++j) {
          double sum = 0;
          for (size_t k = 0; k < dimension; ++k) {
            sum += static_cast<double>(q[i * dimension + k]) * p[j * dimension + k];
          }
          best = std::max(best, sum);
        }
        want += best / 3;
      }
      EXPECT_NEAR(colbert_score({q, dimension}, {p, dimension}), want, 1e-5 * dimension);
    }
  }
}

TEST(Similarity, LexicalScoreMeetsOnSharedIds) {
  const SparseVector a{{7, 3, 9}, {1, 2, 4}}, b{{9, 1, 3}, {0.5f, 8, 0.25f}};
  EXPECT_DOUBLE_EQ(lexical_score(a, b), 2 * 0.25 + 4 * 0.5);
  EXPECT_DOUBLE_EQ(lexical_score(a, {}), 0);
}

TEST(Similarity, SizesMustAgree) {
  const std::vector<float> four(4), six(6);
  refused([&] { dot_product(four, six); });
  refused([&] { colbert_score({four, 2}, {six, 3}); });
  refused([&] { colbert_score({}, {}); });
}

}  // namespace
}  // namespace tamis
