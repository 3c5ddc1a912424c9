#pragma once

// Golden values of the small models in tests/fixtures/models, made by transformers
// (tools/golden/make_model_goldens.py).

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/file_map.h"
#include "io/json.h"
#include "tamis/device.h"
#include "tamis/types.h"

namespace tamis {

struct GoldenCase {
  std::string query, passage;  // a cross-encoder's
  std::string text;            // an embedder's
  size_t max_length = 0;
  bool truncated = false;
  std::vector<int32_t> ids, type_ids;
  std::vector<double> values;  // logits or embedding, f32 arithmetic
};

struct Golden {
  std::filesystem::path directory;
  bool cross_encoder = false;
  std::vector<GoldenCase> cases;
};

inline std::vector<double> numbers(const io::JsonValue& value) {
  std::vector<double> out;
  for (const auto& x : value.elements("values")) out.push_back(x.number("value"));
  return out;
}

inline std::vector<int32_t> integers(const io::JsonValue& value) {
  std::vector<int32_t> out;
  for (const auto& x : value.elements("ids")) out.push_back(static_cast<int32_t>(x.integer("id")));
  return out;
}

/// `path` is the golden file, `directory` the model's.
inline Golden read_golden(const std::filesystem::path& path,
                          const std::filesystem::path& directory) {
  const auto document = io::JsonDocument::parse(io::read_text_file(path), path.string());
  Golden golden;
  golden.directory = directory;
  golden.cross_encoder = document.root().at("kind").string("kind") == "cross_encoder";
  for (const auto& entry : document.root().at("cases").elements("cases")) {
    GoldenCase c;
    c.query = entry.string_or("query", "");
    c.passage = entry.string_or("passage", "");
    c.text = entry.string_or("text", "");
    c.max_length = static_cast<size_t>(entry.at("max_length").integer("max_length"));
    c.truncated = entry.at("truncated").boolean("truncated");
    c.ids = integers(entry.at("ids"));
    if (const auto types = entry.find("type_ids")) c.type_ids = integers(*types);
    c.values = numbers(entry.at(golden.cross_encoder ? "logits" : "embedding"));
    golden.cases.push_back(std::move(c));
  }
  return golden;
}

inline Golden read_golden(const std::filesystem::path& directory) {
  return read_golden(directory / "golden.json", directory);
}

/// The ref device, a simulated accelerator, and each instruction set that this machine has.
inline std::vector<LoadOptions> every_device() {
  std::vector<LoadOptions> out(2);
  out[0].device = "ref";
  out[1].device = "sim:0";
  DevicesOptions with_sim;
  with_sim.sims = {"memory=1GiB,gflops=100"};
  out[1].devices = std::make_shared<Devices>(with_sim);
  for (const std::string& isa : supported_isas()) {
    LoadOptions cpu;
    cpu.isa = isa;
    cpu.threads = 2;
    out.push_back(cpu);
  }
  return out;
}

/// The fixtures of one kind, sorted by name.
inline std::vector<std::filesystem::path> fixture_models(bool cross_encoder) {
  std::vector<std::filesystem::path> out;
  const auto root = std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models";
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!std::filesystem::exists(entry.path() / "golden.json")) continue;
    if (read_golden(entry.path()).cross_encoder == cross_encoder) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Embeddings agree: each number within `tolerance`, cosine at least `least_cosine`.
inline void expect_same_vector(std::span<const float> got, std::span<const double> want,
                               double tolerance, double least_cosine, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double x = static_cast<double>(got[i]);
    EXPECT_NEAR(x, want[i], tolerance) << what << ", number " << i;
    dot += x * want[i];
    aa += x * x;
    bb += want[i] * want[i];
  }
  EXPECT_GE(dot / std::sqrt(aa * bb), least_cosine) << what;
}

inline std::string model_name(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name = info.param.filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace tamis
