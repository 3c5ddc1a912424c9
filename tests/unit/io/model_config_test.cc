#include "io/model_config.h"

#include <gtest/gtest.h>

#include <map>

#include "io_test_util.h"

namespace tamis::io {
namespace {

// A valid config as key -> JSON text, so that a test can change or drop one key.
std::map<std::string, std::string> valid_config() {
  return {{"model_type", "\"xlm-roberta\""},
          {"architectures", "[\"XLMRobertaForSequenceClassification\"]"},
          {"hidden_size", "32"},
          {"num_hidden_layers", "2"},
          {"num_attention_heads", "4"},
          {"intermediate_size", "64"},
          {"vocab_size", "100"},
          {"max_position_embeddings", "66"},
          {"type_vocab_size", "1"},
          {"hidden_act", "\"gelu\""},
          {"layer_norm_eps", "1e-05"},
          {"pad_token_id", "1"},
          {"id2label", "{\"0\": \"LABEL_0\"}"}};
}

std::string json_of(const std::map<std::string, std::string>& members) {
  std::string text;
  for (const auto& [key, value] : members) {
    text += (text.empty() ? "{" : ", ") + ("\"" + key + "\": " + value);
  }
  return text + "}";
}

class ModelConfigTest : public ::testing::Test {
 protected:
  ModelConfig read(const std::map<std::string, std::string>& members) {
    dir_.write("config.json", json_of(members));
    return read_model_config(dir_.path());
  }
  ModelConfig read_with(const std::string& key, const std::string& value) {
    auto members = valid_config();
    members[key] = value;
    return read(members);
  }
  ModelConfig read_without(const std::string& key) {
    auto members = valid_config();
    members.erase(key);
    return read(members);
  }
  SentenceTransformersConfig read_modules(std::string_view modules) {
    dir_.write("modules.json", modules);
    return read_sentence_transformers_config(dir_.path());
  }
  SentenceTransformersConfig read_pooling(std::string_view pooling) {
    dir_.write("1_Pooling/config.json", pooling);
    return read_modules(R"([{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}])");
  }
  TempDir dir_;
};

TEST_F(ModelConfigTest, ReadsWhatTheFileSays) {
  const ModelConfig config = read(valid_config());
  EXPECT_EQ(config.model_type, "xlm-roberta");
  EXPECT_EQ(config.architectures, std::vector<std::string>{"XLMRobertaForSequenceClassification"});
  EXPECT_EQ(config.hidden_size, 32);
  EXPECT_EQ(config.num_hidden_layers, 2);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.intermediate_size, 64);
  EXPECT_EQ(config.vocab_size, 100);
  EXPECT_EQ(config.max_position_embeddings, 66);
  EXPECT_EQ(config.type_vocab_size, 1);
  EXPECT_EQ(config.hidden_act, "gelu");
  EXPECT_EQ(config.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.pad_token_id, 1);
  EXPECT_EQ(config.position_embedding_type, "absolute");
  EXPECT_EQ(config.labels, std::vector<std::string>{"LABEL_0"});
}

TEST_F(ModelConfigTest, AMissingFileSaysWhatAModelDirectoryNeeds) {
  EXPECT_ERROR(read_model_config(dir_.path()), kNotFound, "config.json: no such file",
               "tokenizer.json", "model.safetensors");
  EXPECT_ERROR(read_model_config(dir_ / "none"), kNotFound, "none: no such directory",
               "config.json");
}

TEST_F(ModelConfigTest, EveryKeyThatIsNeededIsMissed) {
  for (const char* key : {"model_type", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "vocab_size", "max_position_embeddings",
                          "type_vocab_size", "hidden_act", "layer_norm_eps", "pad_token_id"}) {
    EXPECT_ERROR(read_without(key), kDataLoss, "config.json", std::string(key) + ": expected",
                 "got nothing");
  }
}

TEST_F(ModelConfigTest, AbsurdSizesAreRefusedWithWhatWasExpected) {
  for (const char* value : {"0", "-3", "1073741825", "18446744073709551615", "1e300", "3.5",
                            "\"32\"", "true", "null", "[]", "{}"}) {
    for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                            "intermediate_size", "vocab_size", "max_position_embeddings"}) {
      EXPECT_ERROR(read_with(key, value), kDataLoss, "config.json",
                   std::string(key) + ": expected an integer from 1 to 1073741824, got ");
    }
  }
  EXPECT_ERROR(read_with("hidden_size", "-3"), kDataLoss, "got -3");
  EXPECT_ERROR(read_with("hidden_size", "\"32\""), kDataLoss, "got \"32\"");
  EXPECT_ERROR(read_with("type_vocab_size", "-1"), kDataLoss, "type_vocab_size");
  EXPECT_EQ(read_with("type_vocab_size", "0").type_vocab_size, 0);
}

TEST_F(ModelConfigTest, RelationsBetweenKeysAreChecked) {
  EXPECT_ERROR(read_with("num_attention_heads", "5"), kDataLoss,
               "num_attention_heads: expected a divisor of hidden_size = 32, got 5");
  EXPECT_ERROR(read_with("pad_token_id", "100"), kDataLoss, "below vocab_size = 100, got 100");
  for (const char* eps : {"0", "1", "-1e-5", "\"1e-5\"", "2.0"}) {
    EXPECT_ERROR(read_with("layer_norm_eps", eps), kDataLoss,
                 "layer_norm_eps: expected a number between 0 and 1, got");
  }
}

TEST_F(ModelConfigTest, AllProblemsComeAtOnce) {
  auto members = valid_config();
  members["model_type"] = "\"qwen2\"";
  members["vocab_size"] = "-1";
  members.erase("layer_norm_eps");
  members["architectures"] = "[1]";
  EXPECT_ERROR(read(members), kDataLoss, "config.json (model_type qwen2): ", "vocab_size",
               "layer_norm_eps", "architectures");
}

TEST_F(ModelConfigTest, NotJsonOrNotAnObject) {
  dir_.write("config.json", "{\"a\": ");
  EXPECT_ERROR(read_model_config(dir_.path()), kDataLoss, "config.json", "not valid JSON");
  dir_.write("config.json", "[]");
  EXPECT_ERROR(read_model_config(dir_.path()), kDataLoss, "expected a JSON object, got an array");
  dir_.write("config.json", "");
  EXPECT_ERROR(read_model_config(dir_.path()), kDataLoss, "config.json");
}

TEST_F(ModelConfigTest, LabelsComeByIndex) {
  EXPECT_EQ(read_with("id2label", R"({"1": "yes", "0": "no"})").labels,
            (std::vector<std::string>{"no", "yes"}));
  auto members = valid_config();
  members.erase("id2label");
  EXPECT_TRUE(read(members).labels.empty());
  members["num_labels"] = "2";
  EXPECT_EQ(read(members).labels, (std::vector<std::string>{"LABEL_0", "LABEL_1"}));
  EXPECT_ERROR(read_with("id2label", R"({"0": "a", "2": "b"})"), kDataLoss,
               "id2label: \"1\": expected a name", "got nothing");
  EXPECT_ERROR(read_with("id2label", R"({"0": 7})"), kDataLoss, "id2label", "got 7");
  EXPECT_ERROR(read_with("id2label", "[\"a\"]"), kDataLoss, "id2label", "got an array");
}

TEST_F(ModelConfigTest, WithoutModulesNothingIsSaid) {
  const auto config = read_sentence_transformers_config(dir_.path());
  EXPECT_FALSE(config.present);
  EXPECT_EQ(config.pooling, "");
  EXPECT_FALSE(config.normalize);
}

TEST_F(ModelConfigTest, ReadsTheModulesOfBgeM3) {
  dir_.write("sentence_bert_config.json", R"({"max_seq_length": 8192, "do_lower_case": false})");
  dir_.write("1_Pooling/config.json",
             R"({"word_embedding_dimension": 1024, "pooling_mode_cls_token": true,
                 "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false})");
  const auto config = read_modules(R"([
      {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
      {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
      {"idx": 2, "name": "2", "path": "2_Normalize",
       "type": "sentence_transformers.models.Normalize"}])");
  EXPECT_TRUE(config.present);
  EXPECT_EQ(config.pooling, "cls");
  EXPECT_TRUE(config.normalize);
  EXPECT_EQ(config.max_seq_length, 8192);
  EXPECT_FALSE(config.do_lower_case);
  EXPECT_TRUE(config.unsupported_modules.empty());
}

TEST_F(ModelConfigTest, PoolingModesHaveNames) {
  EXPECT_EQ(read_pooling(R"({"pooling_mode_mean_tokens": true})").pooling, "mean");
  EXPECT_EQ(read_pooling(R"({"pooling_mode_lasttoken": true})").pooling, "last");
  EXPECT_EQ(read_pooling(R"({"pooling_mode_max_tokens": true})").pooling, "max");
  EXPECT_EQ(
      read_pooling(R"({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})").pooling,
      "cls+mean");
  EXPECT_EQ(read_pooling(R"({"pooling_mode": "lasttoken"})").pooling, "last");
  EXPECT_EQ(read_pooling(R"({"pooling_mode": ["cls", "max"]})").pooling, "cls+max");
  EXPECT_EQ(read_pooling(R"({"pooling_mode": "attention"})").pooling, "attention");
  EXPECT_ERROR(read_pooling(R"({"pooling_mode_cls_token": false})"), kDataLoss,
               "1_Pooling/config.json", "got none");
  EXPECT_ERROR(read_pooling(R"({"pooling_mode_cls_token": "yes"})"), kDataLoss,
               "pooling_mode_cls_token: expected true or false, got \"yes\"");
  EXPECT_ERROR(read_pooling(R"({"pooling_mode": 3})"), kDataLoss, "pooling_mode", "got 3");
}

TEST_F(ModelConfigTest, UnknownModulesAreListed) {
  const auto config = read_modules(R"([
      {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
      {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
      {"path": "x", "type": "my.Own"}])");
  EXPECT_EQ(config.unsupported_modules, (std::vector<std::string>{"Dense", "Own"}));
  EXPECT_EQ(read_modules(R"([{"path": "0_T", "type": "a.Transformer"}])").unsupported_modules,
            std::vector<std::string>{"Transformer in 0_T"});
}

TEST_F(ModelConfigTest, ModulePathsStayInside) {
  for (const char* path : {"../other", "/etc", "", "a/../../b"}) {
    EXPECT_ERROR(read_modules(std::string(R"([{"type": "x.Pooling", "path": ")") + path + "\"}]"),
                 kDataLoss, "modules.json", "path of Pooling",
                 "expected a path inside the model directory, got");
  }
  EXPECT_ERROR(read_modules(R"([{"type": "x.Pooling", "path": "1_Pooling"}])"), kNotFound,
               "1_Pooling/config.json");
}

TEST_F(ModelConfigTest, BadModuleFiles) {
  EXPECT_ERROR(read_modules("{}"), kDataLoss, "modules.json");
  EXPECT_ERROR(read_modules(R"([{"path": ""}])"), kDataLoss, "modules.json", "type");
  dir_.write("sentence_bert_config.json", R"({"max_seq_length": -1})");
  EXPECT_ERROR(read_modules(R"([{"type": "x.Transformer"}])"), kDataLoss,
               "sentence_bert_config.json", "max_seq_length: expected an integer from 1", "got -1");
  dir_.write("sentence_bert_config.json", R"({"max_seq_length": null, "do_lower_case": true})");
  const auto config = read_modules(R"([{"type": "x.Transformer"}])");
  EXPECT_EQ(config.max_seq_length, 0);
  EXPECT_TRUE(config.do_lower_case);
}

}  // namespace
}  // namespace tamis::io
