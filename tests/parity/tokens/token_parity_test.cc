// The real tokenizers against golden ids: every text and pair that Hugging Face `tokenizers` was
// asked about. Data: the directory TAMIS_SHARED_DATA, or shared/data beside the source directory.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "io/file_map.h"
#include "io/json.h"
#include "text/tokenizer.h"
#include "text/truncate.h"

namespace tamis::text {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

fs::path data_directory() {
  const char* const named = std::getenv("TAMIS_SHARED_DATA");
  return named ? fs::path(named) : fs::path(TAMIS_SOURCE_DIR) / ".." / "shared" / "data";
}

/// Text of an .xz file; empty if it cannot be read.
std::string unpack(const fs::path& path) {
  const std::string command =
      "python3 '" TAMIS_SOURCE_DIR "/tools/golden/unpack.py' '" + path.string() + "'";
  std::string out;
  FILE* const pipe = popen(command.c_str(), "r");
  if (!pipe) return out;
  char block[1 << 16];
  for (size_t got; (got = fread(block, 1, sizeof block, pipe)) > 0;) out.append(block, got);
  return pclose(pipe) == 0 ? out : std::string();
}

std::vector<std::string> lines_of(const std::string& name) {
  std::vector<std::string> lines;
  const fs::path path = data_directory() / "golden" / name;
  if (!fs::exists(path)) return lines;
  const std::string text = unpack(path);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// One of the three: where it may lie, and its name in the golden files.
struct Case {
  const char* golden;
  const char* directory;
};

std::optional<fs::path> find(const Case& which) {
  for (const fs::path& root :
       {data_directory() / "bge_official", fs::path(TAMIS_SOURCE_DIR) / ".cache" / "models"}) {
    const fs::path path = root / which.directory / "tokenizer.json";
    if (fs::exists(path)) return path.parent_path();
  }
  return std::nullopt;
}

Ids ids_of(const io::JsonValue& json) {
  Ids out;
  for (const auto& id : json.elements("ids")) out.push_back(static_cast<int32_t>(id.integer("id")));
  return out;
}

class Goldens : public testing::TestWithParam<Case> {
 protected:
  /// Null after a skip.
  std::shared_ptr<const Tokenizer> tokenizer() const {
    const auto directory = find(GetParam());
    return directory ? Tokenizer::load(*directory) : nullptr;
  }
};

#define SKIP_WITHOUT(condition, what) \
  if (!(condition)) GTEST_SKIP() << (what) << " is not here (TAMIS_SHARED_DATA, or ./run setup)"

TEST_P(Goldens, EveryText) {
  const auto tok = tokenizer();
  SKIP_WITHOUT(tok, GetParam().directory);
  const auto lines = lines_of("tokens.jsonl.xz");
  SKIP_WITHOUT(!lines.empty(), "golden/tokens.jsonl.xz");
  EXPECT_EQ(lines.size(), 2291u);
  for (const auto& line : lines) {
    const auto document = io::JsonDocument::parse(line, "tokens.jsonl");
    // reranker_v2_m3 is null where it equals bge_m3.
    const auto own = document.root().find(GetParam().golden);
    const Ids want = ids_of(own ? *own : document.root().at("bge_m3"));
    Ids ids;
    EXPECT_EQ(tok->encode(document.root().at("text").string("text"), ids), 0u);
    EXPECT_EQ(tok->build_single(ids).ids, want) << line;
  }
}

TEST_P(Goldens, EveryPairWholeAndTruncated) {
  const auto tok = tokenizer();
  SKIP_WITHOUT(tok, GetParam().directory);
  const auto lines = lines_of("pairs.jsonl.xz");
  SKIP_WITHOUT(!lines.empty(), "golden/pairs.jsonl.xz");
  EXPECT_EQ(lines.size(), 120u);
  const bool bert = tok->model_type() == "WordPiece";
  for (const auto& line : lines) {
    const auto document = io::JsonDocument::parse(line, "pairs.jsonl");
    const io::JsonValue row = document.root();
    Ids query, passage;
    tok->encode(row.at("q").string("q"), query);
    tok->encode(row.at("p").string("p"), passage);
    const Encoding whole = tok->build_pair(query, passage);
    if (const auto want = row.find(GetParam().golden)) {
      EXPECT_EQ(whole.ids, ids_of(*want)) << line;
    }
    if (bert) {
      EXPECT_EQ(std::count(whole.type_ids.begin(), whole.type_ids.end(), 1),
                row.at("bert_types_ones").integer("bert_types_ones"));
      continue;
    }
    if (std::string_view(GetParam().golden) != "reranker_v2_m3") continue;
    const size_t room = 128 - tok->pair_overhead();
    Ids cut = passage;
    ASSERT_TRUE(truncate_only_second(query, cut, room));
    EXPECT_EQ(tok->build_pair(query, cut).ids, ids_of(row.at("trunc128_only_second"))) << line;
    truncate_longest_first(query, passage, room);
    EXPECT_EQ(tok->build_pair(query, passage).ids, ids_of(row.at("trunc128_longest_first")))
        << line;
  }
}

TEST_P(Goldens, ConfigFilesNameTheSpecialTokens) {
  const auto tok = tokenizer();
  SKIP_WITHOUT(tok, GetParam().directory);
  const SpecialTokens& special = tok->special_tokens();
  if (tok->model_type() == "WordPiece") {
    EXPECT_EQ(tok->vocab_size(), 30522u);
    EXPECT_EQ((Ids{special.cls, special.sep, special.pad, special.unk, special.mask}),
              (Ids{101, 102, 0, 100, 103}));
  } else {
    EXPECT_EQ(tok->vocab_size(), 250002u);
    EXPECT_EQ((Ids{special.bos, special.eos, special.cls, special.sep, special.pad, special.unk,
                   special.mask}),
              (Ids{0, 2, 0, 2, 1, 3, 250001}));
    EXPECT_EQ(tok->model_max_length(), 8192u);
    EXPECT_EQ(tok->id_to_token(250001), "<mask>");
    EXPECT_EQ(tok->token_to_id("▁the"), 70);
  }
}

TEST(BertVocabTxt, GivesTheIdsOfTokenizerJson) {
  const auto directory = find({"bert_uncased", "all-MiniLM-L6-v2"});
  SKIP_WITHOUT(directory && fs::exists(*directory / "vocab.txt"), "all-MiniLM-L6-v2/vocab.txt");
  const auto lines = lines_of("tokens.jsonl.xz");
  SKIP_WITHOUT(!lines.empty(), "golden/tokens.jsonl.xz");
  const fs::path copy = fs::path(testing::TempDir()) / "tamis_vocab_txt";
  fs::create_directories(copy);
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) {
    fs::copy_file(*directory / name, copy / name, fs::copy_options::overwrite_existing);
  }
  const auto tok = Tokenizer::load(copy);
  for (const auto& line : lines) {
    const auto document = io::JsonDocument::parse(line, "tokens.jsonl");
    Ids ids;
    tok->encode(document.root().at("text").string("text"), ids);
    EXPECT_EQ(tok->build_single(ids).ids, ids_of(document.root().at("bert_uncased"))) << line;
  }
  fs::remove_all(copy);
}

INSTANTIATE_TEST_SUITE_P(Real, Goldens,
                         testing::Values(Case{"bge_m3", "bge-m3"},
                                         Case{"reranker_v2_m3", "bge-reranker-v2-m3"},
                                         Case{"bert_uncased", "all-MiniLM-L6-v2"}),
                         [](const auto& which) { return std::string(which.param.golden); });

}  // namespace
}  // namespace tamis::text
