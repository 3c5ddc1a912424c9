#pragma once

// Golden values of the small models in tests/fixtures/models, made by transformers
// (tools/golden/make_model_goldens.py).

#include <filesystem>
#include <string>
#include <vector>

#include "io/file_map.h"
#include "io/json.h"

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

inline Golden read_golden(const std::filesystem::path& directory) {
  const auto path = directory / "golden.json";
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

inline std::vector<std::filesystem::path> fixture_models() {
  std::vector<std::filesystem::path> out;
  const auto root = std::filesystem::path(TAMIS_SOURCE_DIR) / "tests/fixtures/models";
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (std::filesystem::exists(entry.path() / "golden.json")) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace tamis
