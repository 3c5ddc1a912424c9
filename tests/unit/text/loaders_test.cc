// Loading from a directory: which file, and what the small files beside it say.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "small_tokenizers.h"

namespace tamis::text {
namespace {

namespace fs = std::filesystem;

class Directory : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(testing::TempDir()) / (std::string("tamis_text_") + info->name());
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  void TearDown() override { fs::remove_all(path_); }

  void write(const char* name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

  fs::path path_;
};

// Writers of the protocol buffer wire format, as far as a sentencepiece model needs it.
std::string varint(uint64_t n) {
  std::string out;
  for (; n >= 0x80; n >>= 7) out.push_back(static_cast<char>(n | 0x80));
  return out + static_cast<char>(n);
}
std::string field(int number, std::string_view bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}
std::string number_field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
std::string piece(std::string_view text, float score, int type = 1) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return field(1, field(1, text) + varint(2 << 3 | 5) + bits + number_field(3, type));
}

std::string small_sentencepiece(const std::string& normalizer_spec = "", int model_type = 1) {
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("▁", -3) +
         piece("a", -1) + piece("▁a", -3.5) + piece("<user>", 0, 4) +
         field(2, number_field(3, static_cast<uint64_t>(model_type))) + field(3, normalizer_spec);
}

TEST_F(Directory, SaysWhatWasLookedFor) {
  expect_error(ErrorCode::kNotFound, "sentencepiece.bpe.model", [this] { Tokenizer::load(path_); });
  expect_error(ErrorCode::kNotFound, "tokenizer.json",
               [this] { Tokenizer::load(path_ / "nowhere"); });
}

TEST_F(Directory, TokenizerJsonGoesFirstAndConfigsAddToIt) {
  Parts parts;
  parts.added_tokens = R"([{"content":"<go>","special":true,"normalized":false}])";
  write("tokenizer.json", tokenizer_json(parts));
  write("vocab.txt", "[UNK]\n");
  write("tokenizer_config.json",
        R"({"cls_token":"<go>","pad_token":{"content":"b","lstrip":false},)"
        R"("eos_token":null,"mask_token":"nowhere","model_max_length":512})");
  write("special_tokens_map.json",
        R"({"cls_token":"a","eos_token":{"content":"a"},"sep_token":"b"})");
  const auto tokenizer = Tokenizer::load(path_);
  EXPECT_EQ(tokenizer->model_type(), "Unigram");
  EXPECT_EQ(tokenizer->model_max_length(), 512u);
  const SpecialTokens& special = tokenizer->special_tokens();
  EXPECT_EQ(special.cls, 5);
  EXPECT_EQ(special.pad, 2);
  EXPECT_EQ(special.eos, 1);
  EXPECT_EQ(special.sep, 2);
  EXPECT_EQ(special.unk, 0);  // by its usual name
  EXPECT_EQ(special.mask, -1);
  EXPECT_EQ(special.bos, -1);
}

TEST_F(Directory, AbsurdMaximumLengthIsNone) {
  write("tokenizer.json", tokenizer_json(Parts{}));
  for (const char* length : {"1000000000000000019884624838656", "1e30", "0", "-1", "null"}) {
    write("tokenizer_config.json", fmt::format(R"({{"model_max_length":{}}})", length));
    EXPECT_EQ(Tokenizer::load(path_)->model_max_length(), 0u) << length;
  }
  write("tokenizer_config.json", R"({"a\"1234567890123456789012":1.2345678901234567890123e1,)"
                                 R"("pad_token":"b","model_max_length":12345678901234567890123})");
  EXPECT_EQ(Tokenizer::load(path_)->model_max_length(), 0u);
  EXPECT_EQ(Tokenizer::load(path_)->special_tokens().pad, 2);
  fs::remove(path_ / "tokenizer_config.json");
  EXPECT_EQ(Tokenizer::load(path_)->model_max_length(), 0u);
}

TEST_F(Directory, DamagedConfigsAreDataLoss) {
  write("tokenizer.json", tokenizer_json(Parts{}));
  for (const char* text : {"[]", "{", R"({"cls_token":1})", R"({"cls_token":{"text":"a"}})"}) {
    write("tokenizer_config.json", text);
    expect_error(ErrorCode::kDataLoss, "tokenizer_config.json", [this] { Tokenizer::load(path_); });
  }
}

TEST_F(Directory, SentencePieceGetsFairseqsIds) {
  write("sentencepiece.bpe.model", small_sentencepiece());
  const auto tokenizer = Tokenizer::load(path_);
  EXPECT_EQ(tokenizer->vocab_size(), 9u);
  EXPECT_EQ(tokenizer->id_to_token(1), "<pad>");
  EXPECT_EQ(tokenizer->id_to_token(4), "▁");
  EXPECT_EQ(tokenizer->id_to_token(8), "<mask>");
  EXPECT_EQ(encode(*tokenizer, "a  a "), (Ids{6, 6}));
  EXPECT_EQ(encode(*tokenizer, "a <mask><user>\u4e2d"), (Ids{6, 8, 7, 4, 3}));
  EXPECT_EQ(tokenizer->build_pair(Ids{6}, Ids{5}).ids, (Ids{0, 6, 2, 2, 5, 2}));
  EXPECT_EQ(tokenizer->special_tokens().mask, 8);
  EXPECT_EQ(tokenizer->special_tokens().pad, 1);
}

TEST_F(Directory, SentencePieceWithoutDummyPrefix) {
  const auto tokenizer =
      Tokenizer::from_sentencepiece(small_sentencepiece(number_field(3, 0)), "m");
  EXPECT_EQ(encode(*tokenizer, "a"), (Ids{5}));
}

TEST_F(Directory, DamagedSentencePieceIsAnError) {
  const std::string whole = small_sentencepiece();
  size_t refused = 0;
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    try {
      Tokenizer::from_sentencepiece(std::string_view(whole).substr(0, cut), "m");
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kDataLoss ||
                  error.code() == ErrorCode::kUnimplemented);
      ++refused;
    }
  }
  EXPECT_GT(refused, whole.size() / 2);  // between two fields a shorter model is a whole one
  expect_error(ErrorCode::kUnimplemented, "Unigram",
               [] { Tokenizer::from_sentencepiece(small_sentencepiece("", 2), "m"); });
  expect_error(ErrorCode::kDataLoss, "charsmap",
               [] { Tokenizer::from_sentencepiece(small_sentencepiece(field(2, "xx")), "m"); });
}

constexpr const char* kVocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nA\né\n";

TEST_F(Directory, VocabTxtIsBert) {
  write("vocab.txt", kVocab);
  const auto tokenizer = Tokenizer::load(path_);
  EXPECT_EQ(tokenizer->model_type(), "WordPiece");
  EXPECT_EQ(tokenizer->vocab_size(), 9u);
  EXPECT_EQ(encode(*tokenizer, "AB x[MASK]"), (Ids{5, 6, 1, 4}));
  EXPECT_EQ(tokenizer->build_pair(Ids{5}, Ids{6}).ids, (Ids{2, 5, 3, 6, 3}));
  EXPECT_EQ(tokenizer->build_pair(Ids{5}, Ids{6}).type_ids, (Ids{0, 0, 0, 1, 1}));
  EXPECT_EQ(tokenizer->special_tokens().cls, 2);
}

TEST_F(Directory, VocabTxtFollowsTokenizerConfig) {
  write("vocab.txt", kVocab);
  write("tokenizer_config.json", R"({"do_lower_case":false})");
  EXPECT_EQ(encode(*Tokenizer::load(path_), "A é"), (Ids{7, 8}));
  write("tokenizer_config.json", R"({"do_lower_case":true,"strip_accents":false})");
  EXPECT_EQ(encode(*Tokenizer::load(path_), "A é"), (Ids{5, 8}));
  write("vocab.txt", "[UNK]\na\n");
  expect_error(ErrorCode::kDataLoss, "[CLS]", [this] { Tokenizer::load(path_); });
}

}  // namespace
}  // namespace tamis::text
