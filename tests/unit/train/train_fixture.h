#pragma once

// What the tests of training share: folders of their own, the tiny models, and goldens of torch.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/json.h"
#include "tamis/error.h"
#include "tamis/train.h"

namespace tamis::training {

namespace fs = std::filesystem;

inline fs::path source(const std::string& path) { return fs::path(TAMIS_SOURCE_DIR) / path; }
inline fs::path model(const std::string& name) { return source("tests/fixtures/models") / name; }

/// A new folder of the running test's name, gone with it.
class Folder {
 public:
  Folder() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = info->name();
    std::replace(name.begin(), name.end(), '/', '-');
    path_ = fs::temp_directory_path() / ("tamis-train-" + name + "-" + std::to_string(getpid()));
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return path_ / name;
  }

 private:
  fs::path path_;
};

inline std::string text_of(const fs::path& path) {
  std::stringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

/// tests/golden/train.json.
class Goldens {
 public:
  Goldens()
      : document_(
            io::JsonDocument::parse(text_of(source("tests/golden/train.json")), "train.json")) {}
  io::JsonValue root() const { return document_.root(); }
  io::JsonValue find(const std::string& name) const {
    for (const io::JsonValue& c : root().at("cases").elements("cases")) {
      if (c.at("name").string("name") == name) return c;
    }
    throw std::runtime_error("no case " + name);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const io::JsonValue& c : root().at("cases").elements("cases")) {
      out.emplace_back(c.at("name").string("name"));
    }
    return out;
  }

 private:
  io::JsonDocument document_;
};

/// The options that a golden case was made with.
inline TrainOptions options_of(const Goldens& goldens, const std::string& name) {
  const io::JsonValue c = goldens.find(name), root = goldens.root();
  TrainOptions o;
  const auto task = c.at("task").string("task");
  o.task = task == "reranker" ? TrainTask::kReranker
           : task == "m3"     ? TrainTask::kM3
                              : TrainTask::kEmbedder;
  o.use_self_distill = c.boolean_or("self_distill", false);
  o.model_name_or_path = model(std::string(c.at("model").string("model")));
  o.train_data = {source("tests/fixtures/train/data.jsonl")};
  o.train_group_size = static_cast<size_t>(root.at("group").integer("group"));
  o.query_max_len = static_cast<size_t>(root.at("query_max_len").integer("q"));
  o.passage_max_len = static_cast<size_t>(root.at("passage_max_len").integer("p"));
  o.max_steps = root.at("steps").integer("steps");
  o.per_device_train_batch_size = 6;
  o.learning_rate = 1e-3;
  o.weight_decay = 0.01;
  o.warmup_steps = 5;
  o.temperature = 0.05;
  o.dropout = false;
  o.save_steps = 0;
  o.logging_steps = 1;
  if (const auto kd = c.find("kd")) {
    o.knowledge_distillation = true;
    o.kd_loss_type = kd->string("kd");
  }
  o.no_in_batch_neg = c.boolean_or("no_in_batch_neg", false);
  if (const auto dims = c.find("mrl")) {
    for (const io::JsonValue& d : dims->elements("mrl")) o.mrl_dims.push_back(d.integer("mrl"));
  }
  return o;
}

/// A small run on the fixture's data.
inline TrainOptions small_run(const fs::path& out, const std::string& name = "xlmr-ce") {
  TrainOptions o;
  o.model_name_or_path = model(name);
  o.train_data = {source("tests/fixtures/train/data.jsonl")};
  o.output_dir = out;
  o.train_group_size = 3;
  o.query_max_len = 12;
  o.passage_max_len = 30;
  o.per_device_train_batch_size = 2;
  o.max_steps = 8;
  o.learning_rate = 1e-3;
  o.save_steps = 0;
  o.logging_steps = 1;
  return o;
}

inline std::vector<double> losses_of(const TrainOptions& options) {
  std::vector<double> out;
  TrainEvents events;
  events.step = [&](const TrainStep& step) { out.push_back(step.loss); };
  train(options, events);
  return out;
}

inline std::string weights(const fs::path& out) { return text_of(out / "model.safetensors"); }

/// Runs f and returns the error's text; "" if there is none.
template <class F>
std::string error_of(const F& f, ErrorCode code) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

inline bool same_file(const fs::path& a, const fs::path& b) { return text_of(a) == text_of(b); }

}  // namespace tamis::training
