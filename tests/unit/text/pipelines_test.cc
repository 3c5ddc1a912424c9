// Ids of small tokenizers of every kind against those that Hugging Face `tokenizers` gave
// (tools/golden/make_tokenizer_fixtures.py).

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "io/json.h"
#include "text/tokenizer.h"

namespace tamis::text {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> fixtures() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(TAMIS_SOURCE_DIR "/tests/fixtures/pipelines")) {
    out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<int32_t> numbers(const io::JsonValue& json) {
  std::vector<int32_t> out;
  for (const auto& number : json.elements("ids")) {
    out.push_back(static_cast<int32_t>(number.integer("id")));
  }
  return out;
}

/// The text of the member "tokenizer" of a fixture's first line, its last member.
std::string tokenizer_of(const std::string& line) {
  constexpr std::string_view kKey = "\"tokenizer\":";
  const size_t begin = line.find(kKey) + kKey.size();
  return line.substr(begin, line.rfind('}') - begin);
}

class Fixture : public testing::TestWithParam<fs::path> {};

TEST_P(Fixture, GivesTheIdsOfHuggingFace) {
  std::ifstream file(GetParam());
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const auto tokenizer = Tokenizer::from_json(tokenizer_of(line), GetParam().string());
  size_t rows = 0;
  for (; std::getline(file, line); ++rows) {
    const auto document = io::JsonDocument::parse(line, GetParam().string());
    const io::JsonValue row = document.root();
    std::vector<int32_t> a, b;
    EXPECT_EQ(tokenizer->encode(row.at("text").string("text"), a), 0u);
    const auto want = numbers(row.at("ids"));
    if (const auto pair = row.find("pair")) {
      tokenizer->encode(pair->string("pair"), b);
      const Encoding got = tokenizer->build_pair(a, b);
      EXPECT_EQ(got.ids, want) << line;
      EXPECT_EQ(got.type_ids, numbers(row.at("type_ids"))) << line;
      EXPECT_EQ(got.ids.size(), a.size() + b.size() + tokenizer->pair_overhead());
    } else {
      const Encoding got = tokenizer->build_single(a);
      EXPECT_EQ(got.ids, want) << line;
      EXPECT_EQ(got.ids.size(), a.size() + tokenizer->single_overhead());
    }
  }
  EXPECT_GT(rows, 50u);
}

INSTANTIATE_TEST_SUITE_P(Pipelines, Fixture, testing::ValuesIn(fixtures()),
                         [](const auto& fixture) {
                           std::string name = fixture.param.stem().string();
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace tamis::text
