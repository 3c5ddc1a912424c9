#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io_test_util.h"

namespace tamis::io {
namespace {

// A file of U8 tensors with the given names, each one byte: its number.
std::string safetensors(const std::vector<std::string>& names) {
  std::string header = "{";
  std::string data;
  for (size_t i = 0; i < names.size(); ++i) {
    header += (i ? ", \"" : "\"") + names[i] + R"(": {"dtype": "U8", "shape": [1], )" +
              "\"data_offsets\": [" + std::to_string(i) + ", " + std::to_string(i + 1) + "]}";
    data += static_cast<char>(i);
  }
  header += "}";
  const uint64_t size = header.size();
  std::string out(sizeof size, '\0');
  std::memcpy(out.data(), &size, sizeof size);
  return out + header + data;
}

class CheckpointTest : public ::testing::Test {
 protected:
  void write_index(std::string_view weight_map) {
    dir_.write("model.safetensors.index.json",
               R"({"metadata": {"total_size": 3}, "weight_map": )" + std::string(weight_map) + "}");
  }
  Checkpoint open() { return Checkpoint::open(dir_.path()); }
  TempDir dir_;
};

TEST_F(CheckpointTest, OneFile) {
  const auto path = dir_.write("model.safetensors", safetensors({"b", "a"}));
  const Checkpoint checkpoint = open();
  ASSERT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.tensors()[0].name, "a");
  EXPECT_EQ(checkpoint.find("a")->bytes[0], std::byte{1});
  EXPECT_EQ(checkpoint.find("b")->bytes[0], std::byte{0});
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_EQ(checkpoint.find(""), nullptr);
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("a")), path.string());
  checkpoint.drop_pages(*checkpoint.find("a"));
  EXPECT_EQ(checkpoint.find("a")->bytes[0], std::byte{1});
}

TEST_F(CheckpointTest, NoWeightsListsWhatWasLookedFor) {
  EXPECT_ERROR(open(), kNotFound, "no weights", "model.safetensors", "model.safetensors.index.json",
               "pytorch_model.bin", "pytorch_model.bin.index.json");
}

TEST_F(CheckpointTest, SafetensorsComeFirst) {
  dir_.write("model.safetensors", safetensors({"a"}));
  dir_.write("pytorch_model.bin", "rubbish");
  EXPECT_EQ(open().tensors().size(), 1u);
  std::filesystem::remove(dir_ / "model.safetensors");
  EXPECT_ERROR(open(), kDataLoss, "pytorch_model.bin", "expected a zip archive");
}

TEST_F(CheckpointTest, MovingKeepsTheViews) {
  dir_.write("model.safetensors", safetensors({"a"}));
  Checkpoint first = open();
  const TensorView* tensor = first.find("a");
  const Checkpoint second = std::move(first);
  EXPECT_EQ(second.find("a"), tensor);
}

TEST_F(CheckpointTest, ShardsBecomeOne) {
  dir_.write("s1.safetensors", safetensors({"c", "a"}));
  dir_.write("sub/s2.safetensors", safetensors({"b"}));
  write_index(R"({"a": "s1.safetensors", "b": "sub/s2.safetensors", "c": "s1.safetensors"})");
  const Checkpoint checkpoint = open();
  ASSERT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.tensors()[1].name, "b");
  EXPECT_EQ(checkpoint.find("a")->bytes[0], std::byte{1});
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("b")), (dir_ / "sub/s2.safetensors").string());
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("c")), (dir_ / "s1.safetensors").string());
}

TEST_F(CheckpointTest, TheIndexDecidesAndExtraTensorsAreReported) {
  dir_.write("s1.safetensors", safetensors({"a", "b"}));
  dir_.write("s2.safetensors", safetensors({"x", "b"}));
  write_index(R"({"a": "s1.safetensors", "b": "s2.safetensors"})");
  std::string warnings;
  const auto checkpoint = Checkpoint::open(dir_.path(), [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning) warnings += text;
  });
  EXPECT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.find("b")->bytes[0], std::byte{1});
  EXPECT_NE(warnings.find("1 tensors are not in"), std::string::npos) << warnings;
}

TEST_F(CheckpointTest, ShardsOutsideTheDirectoryAreRefused) {
  for (const char* shard : {"../other.safetensors", "/etc/passwd", "a/../../b", "", ".."}) {
    write_index(std::string(R"({"a": ")") + shard + "\"}");
    EXPECT_ERROR(open(), kDataLoss, "index.json: weight_map",
                 std::string("expected a path inside the model directory, got \"") + shard + "\"");
  }
}

TEST_F(CheckpointTest, AMissingShardIsNamed) {
  write_index(R"({"a": "s7.safetensors"})");
  EXPECT_ERROR(open(), kNotFound, "s7.safetensors: no such file", "index.json names it as a shard");
}

TEST_F(CheckpointTest, ATensorPromisedInVain) {
  dir_.write("s1.safetensors", safetensors({"a", "c"}));
  for (const char* name : {"b", "z", "A"}) {
    write_index(std::string(R"({"a": "s1.safetensors", ")") + name + R"(": "s1.safetensors"})");
    EXPECT_ERROR(open(), kDataLoss, "s1.safetensors: no tensor \"" + std::string(name) + "\"",
                 "index.json says that it is there");
  }
}

TEST_F(CheckpointTest, BadIndexes) {
  write_index("{}");
  EXPECT_ERROR(open(), kDataLoss, "index.json", "weight_map", "got none");
  write_index("[]");
  EXPECT_ERROR(open(), kDataLoss, "weight_map", "expected an object");
  write_index(R"({"a": 1})");
  EXPECT_ERROR(open(), kDataLoss, "index.json: a: expected a string, got an integer");
  write_index(R"({"a": "s", "a": "t"})");
  EXPECT_ERROR(open(), kDataLoss, "tensor \"a\": expected once, got twice");
  dir_.write("model.safetensors.index.json", "{}");
  EXPECT_ERROR(open(), kDataLoss, "no \"weight_map\"");
}

TEST_F(CheckpointTest, ADamagedShardIsNamed) {
  dir_.write("s1.safetensors", "rubbish!rubbish!");
  write_index(R"({"a": "s1.safetensors"})");
  EXPECT_ERROR(open(), kDataLoss, "s1.safetensors");
}

}  // namespace
}  // namespace tamis::io
