// A model directory that is damaged or not supported is refused with everything that is wrong.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "io/checkpoint.h"
#include "model/weights.h"
#include "tamis/embedder.h"
#include "tamis/error.h"
#include "tamis/reranker.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

/// A copy of a fixture model that a test may damage.
class ModelCopy {
 public:
  explicit ModelCopy(const std::string& fixture)
      : directory_(fs::temp_directory_path() / ("tamis-model-" + std::to_string(getpid()))) {
    fs::remove_all(directory_);
    fs::copy(fs::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models" / fixture, directory_,
             fs::copy_options::recursive);
  }
  ModelCopy(const ModelCopy&) = delete;
  ModelCopy& operator=(const ModelCopy&) = delete;
  ~ModelCopy() { fs::remove_all(directory_); }
  const fs::path& path() const { return directory_; }

  ModelCopy& replace(const std::string& file, const std::string& from, const std::string& to) {
    std::stringstream text;
    text << std::ifstream(directory_ / file).rdbuf();
    std::string content = text.str();
    const size_t at = content.find(from);
    EXPECT_NE(at, std::string::npos) << file << " has no " << from;
    if (at != std::string::npos) content.replace(at, from.size(), to);
    std::ofstream(directory_ / file) << content;
    return *this;
  }

  /// Overwrites element `index` of an F32 tensor in model.safetensors.
  ModelCopy& poke(std::string_view tensor, size_t index, float value) {
    size_t offset = 0;
    {
      const auto checkpoint = io::Checkpoint::open(directory_);
      const TensorView* view = checkpoint.find(tensor);
      EXPECT_NE(view, nullptr) << tensor;
      if (view == nullptr) return *this;
      const std::byte* first = checkpoint.tensors()[0].bytes.data();
      for (const TensorView& t : checkpoint.tensors()) first = std::min(first, t.bytes.data());
      uint64_t header = 0;
      std::ifstream(directory_ / "model.safetensors").read(reinterpret_cast<char*>(&header), 8);
      offset = 8 + header + static_cast<size_t>(view->bytes.data() - first) + index * 4;
    }
    std::fstream file(directory_ / "model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(reinterpret_cast<const char*>(&value), 4);
    return *this;
  }

 private:
  fs::path directory_;
};

/// Runs `action`, expects this code, and each of `parts` in the message.
template <class Action>
void expect_error(const Action& action, ErrorCode code, const std::vector<std::string>& parts) {
  try {
    action();
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(info(error.code()).name, info(code).name) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "no \"" << part << "\" in: " << error.what();
    }
  }
}

TEST(LoadErrors, EveryMismatchIsListedNotTheFirstAlone) {
  ModelCopy model("xlmr-ce");
  model.replace("config.json", "\"intermediate_size\": ", "\"intermediate_size\": 1");
  expect_error([&] { Reranker::load(model.path()); }, ErrorCode::kDataLoss,
               {"XLMRobertaForSequenceClassification", "encoder.layer.0.intermediate.dense.weight",
                "encoder.layer.0.intermediate.dense.bias", "encoder.layer.0.output.dense.weight",
                "expected [", "got ["});
}

TEST(LoadErrors, AWordThatF16CannotHoldIsNamedWhereTheTableIsNarrowed) {
  ModelCopy model("xlmr-ce");
  model.poke("roberta.embeddings.word_embeddings.weight", 77, 70000.0f);
  LoadOptions options;
  options.dtype = "f16";
  EXPECT_NO_THROW(Reranker::load(model.path(), options)) << "the cpu reads the file's f32";
  options.device = "sim:0";
  expect_error([&] { Reranker::load(model.path(), options); }, ErrorCode::kDataLoss,
               {"word_embeddings", "element 77 is 70000", "F16"});
  options.dtype = "bf16";
  EXPECT_NO_THROW(Reranker::load(model.path(), options));
}

TEST(LoadErrors, AnUnknownArchitectureNamesThoseThatAreSupported) {
  ModelCopy model("xlmr-ce");
  model.replace("config.json", "XLMRobertaForSequenceClassification", "GemmaForCausalLM");
  expect_error(
      [&] { Reranker::load(model.path()); }, ErrorCode::kUnimplemented,
      {"GemmaForCausalLM", "XLMRobertaForSequenceClassification", "BertModel", "config.json"});
}

TEST(LoadErrors, AnActivationThatWouldGiveOtherScoresIsRefused) {
  ModelCopy model("bert-ce");
  model.replace("config.json", "\"gelu\"", "\"gelu_new\"");
  expect_error([&] { Reranker::load(model.path()); }, ErrorCode::kUnimplemented,
               {"gelu_new", "gelu, relu"});
}

TEST(LoadErrors, AnUnknownPoolingIsRefusedUnlessTheCallerNamesAnother) {
  ModelCopy model("xlmr-bi-mean");
  model
      .replace("1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true",
               "\"pooling_mode_mean_tokens\": false")
      .replace("1_Pooling/config.json", "\"pooling_mode_max_tokens\": false",
               "\"pooling_mode_max_tokens\": true");
  expect_error([&] { Embedder::load(model.path()); }, ErrorCode::kUnimplemented,
               {"\"max\"", "cls, mean, last"});
  LoadOptions options;
  options.pooling = Pooling::kMean;
  EXPECT_EQ(Embedder::load(model.path(), options).info().pooling, "mean");
}

TEST(LoadErrors, AWordTableTooSmallForTheTokenizerIsRefused) {
  ModelCopy model("xlmr-ce");
  // An added token that the word table has no row for; Hugging Face gives it the next free id.
  model.replace("tokenizer.json", "\"added_tokens\": [",
                "\"added_tokens\": [{\"id\": 99999, \"content\": \"<far>\", \"special\": true, "
                "\"lstrip\": false, \"rstrip\": false, \"single_word\": false, "
                "\"normalized\": false},");
  expect_error([&] { Reranker::load(model.path()); }, ErrorCode::kDataLoss,
               {"ids up to", "only", "rows"});
}

TEST(LoadErrors, NaNInAPackedWeightNamesTensorAndElement) {
  ModelCopy model("xlmr-ce");
  model.poke("roberta.encoder.layer.0.output.dense.weight", 17, NAN);
  for (const char* device : {"cpu", "ref"}) {
    LoadOptions options;
    options.device = device;
    expect_error([&] { Reranker::load(model.path(), options); }, ErrorCode::kDataLoss,
                 {"encoder.layer.0.output.dense.weight", "element 17", "nan"});
  }
}

TEST(LoadErrors, InfinityInALayerNormNamesTensorAndElement) {
  ModelCopy model("xlmr-ce");
  model.poke("roberta.embeddings.LayerNorm.bias", 3, -std::numeric_limits<float>::infinity());
  expect_error([&] { Reranker::load(model.path()); }, ErrorCode::kDataLoss,
               {"embeddings.LayerNorm.bias", "element 3", "-inf"});
}

TEST(LoadErrors, NaNInAWordRowIsFoundWhenTheWordIsUsedAndNamesTheToken) {
  // Word rows are read from the file as they are needed; reading all of them at load would cost
  // a gigabyte. Id 0 is <s>, which every input has.
  ModelCopy model("xlmr-ce");
  model.poke("roberta.embeddings.word_embeddings.weight", 2, NAN);
  const Reranker reranker = Reranker::load(model.path());
  const std::string_view passage = "a passage";
  expect_error([&] { reranker.rerank("a query", std::span(&passage, 1)); }, ErrorCode::kDataLoss,
               {"the embedding of token id 0 is nan"});
}

TEST(LoadErrors, ACrossEncoderHasNoVectors) {
  const fs::path model = fs::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models/xlmr-ce";
  expect_error([&] { Embedder::load(model); }, ErrorCode::kInvalidArgument, {"cross-encoder"});
}

TEST(LoadErrors, MissingPiecesSayWhatAModelDirectoryNeeds) {
  ModelCopy model("xlmr-ce");
  fs::remove(model.path() / "tokenizer.json");
  expect_error([&] { Reranker::load(model.path()); }, ErrorCode::kNotFound, {"tokenizer.json"});
  fs::remove(model.path() / "model.safetensors");
  expect_error([&] { Reranker::load(model.path()); }, ErrorCode::kNotFound,
               {"model.safetensors", "pytorch_model.bin"});
  expect_error([&] { Reranker::load("/nonexistent/model"); }, ErrorCode::kNotFound,
               {"/nonexistent/model"});
}

TEST(Describe, TellsTheTableThePlanAndWhatIsIgnored) {
  const fs::path models = fs::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models";
  const ModelDescription described = describe_model(models / "bert-ce-old-names");
  EXPECT_EQ(described.info.kind, ModelKind::kCrossEncoder);
  EXPECT_GT(described.info.parameters, 0);
  EXPECT_GT(described.plan.weight_bytes, 0u);
  EXPECT_GT(described.plan.workspace_bytes, 0u);
  size_t used = 0;
  for (const TensorInfo& tensor : described.tensors) used += tensor.used;
  EXPECT_GT(used, 20u);
}

TEST(Describe, ThePlanIsWhatALoadedModelTakes) {
  for (const char* name : {"xlmr-ce", "bert-ce", "xlmr-bi-mean"}) {
    for (const char* device : {"cpu", "cpu,cpu", "ref", "sim:0"}) {
      for (const char* dtype : {"f32", "f16"}) {
        const fs::path directory = fs::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models" / name;
        LoadOptions options;
        options.device = device;
        options.dtype = dtype;
        options.batch_tokens = 300;
        const MemoryPlan plan = describe_model(directory, options).plan;
        const Reranker loaded = Reranker::load(directory, options);
        const std::string what = std::string(name) + " on " + device + " in " + dtype;
        EXPECT_EQ(loaded.memory_plan().weight_bytes, plan.weight_bytes) << what;
        size_t weights = 0, workspace = 0;
        for (const Placement& p : loaded.placement()) {
          if (!p.shares_weights) weights += p.weight_bytes;
          workspace += p.workspace_bytes;
        }
        EXPECT_EQ(weights, plan.weight_bytes) << what;
        EXPECT_EQ(workspace, plan.workspace_bytes) << what;
      }
    }
  }
}

}  // namespace
}  // namespace tamis
