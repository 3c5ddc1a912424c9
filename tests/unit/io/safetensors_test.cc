#include <gtest/gtest.h>

#include <cstring>

#include "io/checkpoint.h"
#include "io_test_util.h"

namespace tamis::io {
namespace {

std::string u64(uint64_t value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

std::string file_of(std::string_view header, size_t data_bytes) {
  std::string data(data_bytes, '\0');
  for (size_t i = 0; i < data_bytes; ++i) data[i] = static_cast<char>(i);
  return u64(header.size()) + std::string(header) + data;
}

std::vector<TensorView> parse(std::string_view file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "m.safetensors");
}

std::vector<TensorView> parse(std::string_view header, size_t data_bytes) {
  const std::string file = file_of(header, data_bytes);
  return parse(file);
}

TEST(Safetensors, ReadsWhatTheHeaderSays) {
  const std::string file = file_of(
      R"({"__metadata__": {"format": "pt"},
          "b": {"dtype": "F16", "shape": [2, 1], "data_offsets": [8, 12]},
          "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
          "scalar": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
          "empty": {"dtype": "BF16", "shape": [0, 7], "data_offsets": [12, 12]}}   )",
      20);
  const auto tensors = parse(file);
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, DType::kF32);
  EXPECT_EQ(tensors[0].shape, Shape{2});
  EXPECT_EQ(tensors[1].name, "b");
  EXPECT_EQ(tensors[1].shape, (Shape{2, 1}));
  EXPECT_EQ(tensors[1].bytes.size(), 4u);
  EXPECT_EQ(tensors[1].bytes[0], std::byte{8});
  EXPECT_EQ(tensors[1].bytes.data(),
            reinterpret_cast<const std::byte*>(file.data()) + file.size() - 12);
  EXPECT_EQ(tensors[2].name, "empty");
  EXPECT_TRUE(tensors[2].bytes.empty());
  EXPECT_EQ(tensors[3].shape, Shape{});
}

TEST(Safetensors, EveryDTypeHasAName) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64,
                            DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    const std::string end = std::to_string(3 * size_of(dtype));
    const auto tensors = parse(R"({"t": {"dtype": ")" + std::string(name_of(dtype)) +
                                   R"(", "shape": [3], "data_offsets": [0, )" + end + "]}}",
                               3 * size_of(dtype));
    ASSERT_EQ(tensors.size(), 1u);
    EXPECT_EQ(tensors[0].dtype, dtype);
  }
  EXPECT_EQ(parse("{}", 0).size(), 0u);
}

TEST(Safetensors, TruncatedAtEveryByte) {
  const std::string file =
      file_of(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", 8);
  ASSERT_EQ(parse(file).size(), 1u);
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_ERROR(parse(std::string_view(file).substr(0, size)), kDataLoss, "m.safetensors");
  }
  EXPECT_ERROR(parse(std::string_view(file).substr(0, 5)), kDataLoss,
               "at least 8 bytes of header size, got 5");
  EXPECT_ERROR(parse(std::string_view(file).substr(0, 20)), kDataLoss, "truncated",
               "expected a header of 61 bytes from byte 8 on, got 12");
  EXPECT_ERROR(parse(file + "x"), kDataLoss, "expected 8 bytes of data as the header says, got 9");
}

TEST(Safetensors, AHugeHeaderLengthIsRefusedAtOnce) {
  for (const uint64_t size : {uint64_t{100'000'001}, uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_ERROR(parse(u64(size) + "{}"), kDataLoss, "byte 0",
                 "at most 100000000 bytes, got " + std::to_string(size));
  }
  EXPECT_ERROR(parse(u64(100'000'000) + "{}"), kDataLoss, "truncated", "got 2");
}

TEST(Safetensors, NotJson) {
  EXPECT_ERROR(parse("{", 0), kDataLoss, "m.safetensors: header", "not valid JSON");
  EXPECT_ERROR(parse("", 0), kDataLoss, "not valid JSON");
  EXPECT_ERROR(parse("\x80\x02}q.", 0), kDataLoss, "not valid JSON");
  EXPECT_ERROR(parse("[]", 0), kDataLoss, "expected an object, got an array");
  EXPECT_ERROR(parse("{\"\xff\": 1}", 0), kDataLoss, "not valid JSON");
  EXPECT_ERROR(parse(R"({"a": 1})", 0), kDataLoss, "tensor \"a\"", "expected an object");
  EXPECT_ERROR(parse(R"({"__metadata__": 1})", 0), kDataLoss, "__metadata__");
}

TEST(Safetensors, WrongDType) {
  EXPECT_ERROR(parse(R"({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}})", 1),
               kDataLoss, "tensor \"a\": dtype: expected one of F32 F16", "got \"F8_E4M3\"");
  EXPECT_ERROR(parse(R"({"a": {"dtype": 1, "shape": [1], "data_offsets": [0, 1]}})", 1), kDataLoss,
               "dtype: expected a string");
  EXPECT_ERROR(parse(R"({"a": {"shape": [1], "data_offsets": [0, 1]}})", 1), kDataLoss,
               "dtype: expected a string");
}

TEST(Safetensors, WrongShapes) {
  const auto with_shape = [](const std::string& shape) {
    return parse(R"({"a": {"dtype": "F32", "data_offsets": [0, 8], "shape": )" + shape + "}}", 8);
  };
  EXPECT_EQ(with_shape("[1, 2]").size(), 1u);
  EXPECT_ERROR(with_shape("[3]"), kDataLoss, "tensor \"a\"",
               "expected 3 x 4 bytes of data for F32 [3], got 8 (data_offsets [0, 8])");
  EXPECT_ERROR(with_shape("[-2]"), kDataLoss, "shape: expected an integer from 0 to 2^62, got -2");
  EXPECT_ERROR(with_shape("[18446744073709551615]"), kDataLoss, "shape: expected an integer");
  EXPECT_ERROR(with_shape("[1e400]"), kDataLoss);
  EXPECT_ERROR(with_shape("[2.0]"), kDataLoss, "another kind of value");
  EXPECT_ERROR(with_shape("[\"2\"]"), kDataLoss, "another kind of value");
  EXPECT_ERROR(with_shape("2"), kDataLoss, "shape: expected an array");
  EXPECT_ERROR(with_shape("null"), kDataLoss, "shape: expected an array");
  // Products that wrap around to the right size in 64 bits.
  EXPECT_ERROR(with_shape("[4611686018427387905, 2]"), kDataLoss);
  EXPECT_ERROR(with_shape("[4294967296, 4294967296]"), kDataLoss, "overflowing");
  EXPECT_ERROR(with_shape("[1073741824, 2147483648, 2]"), kDataLoss);
}

TEST(Safetensors, WrongOffsets) {
  const auto with_offsets = [](const std::string& offsets) {
    return parse(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": )" + offsets + "}}", 8);
  };
  EXPECT_ERROR(with_offsets("[0, 12]"), kDataLoss, "tensor \"a\"", "data_offsets",
               "expected a range within the 8 bytes of data, got [0, 12]");
  EXPECT_ERROR(with_offsets("[8, 0]"), kDataLoss, "got [8, 0]");
  EXPECT_ERROR(with_offsets("[-8, 0]"), kDataLoss, "got -8");
  EXPECT_ERROR(with_offsets("[0, 18446744073709551608]"), kDataLoss, "data_offsets");
  EXPECT_ERROR(with_offsets("[0]"), kDataLoss, "expected [begin, end], got 1 values");
  EXPECT_ERROR(with_offsets("[0, 8, 8]"), kDataLoss, "got 3 values");
  EXPECT_ERROR(with_offsets("{}"), kDataLoss, "expected [begin, end]");
  EXPECT_ERROR(with_offsets("[0, 7]"), kDataLoss, "got 7");
}

TEST(Safetensors, OverlapsAndHoles) {
  const auto two = [](const char* a, const char* b, size_t bytes) {
    return parse(std::string(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": )") + a +
                     R"(}, "b": {"dtype": "U8", "shape": [4], "data_offsets": )" + b + "}}",
                 bytes);
  };
  EXPECT_EQ(two("[4, 8]", "[0, 4]", 8).size(), 2u);
  EXPECT_ERROR(two("[0, 4]", "[2, 6]", 6), kDataLoss, "tensor \"b\"",
               "expected to begin at 4, got 2: tensors overlap");
  EXPECT_ERROR(two("[0, 4]", "[0, 4]", 4), kDataLoss, "tensors overlap");
  EXPECT_ERROR(two("[0, 4]", "[5, 9]", 9), kDataLoss, "tensor \"b\"",
               "expected to begin at 4, got 5", "unused");
  EXPECT_ERROR(two("[1, 5]", "[5, 9]", 9), kDataLoss, "expected to begin at 0, got 1");
}

TEST(Safetensors, DuplicateNames) {
  EXPECT_ERROR(parse(R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                         "a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}})",
                     2),
               kDataLoss, "m.safetensors: tensor \"a\": expected once, got twice");
}

TEST(Safetensors, AGitLfsPointerIsNamed) {
  EXPECT_ERROR(parse("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
               kDataLoss, "git-lfs pointer", "git lfs pull");
}

TEST(Safetensors, ManyTensorsStayQuick) {
  constexpr int kCount = 100'000;
  std::string header = "{";
  for (int i = 0; i < kCount; ++i) {
    header += (i ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":"U8","shape":[1],)" +
              "\"data_offsets\":[" + std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  EXPECT_EQ(parse(header + "}", kCount).size(), static_cast<size_t>(kCount));
}

}  // namespace
}  // namespace tamis::io
