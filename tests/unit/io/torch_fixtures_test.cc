// Files that torch itself wrote (tools/golden/make_torch_fixtures.py).

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "io/checkpoint.h"
#include "io/file_map.h"
#include "io/json.h"
#include "io_test_util.h"
#include "numeric/dtype.h"

namespace tamis::io {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(TAMIS_SOURCE_DIR) / "tests/fixtures/torch";

template <class T>
double load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

double element(const TensorView& tensor, size_t i) {
  const std::byte* at = tensor.bytes.data() + i * size_of(tensor.dtype);
  switch (tensor.dtype) {
    case DType::kF32:
      return load<float>(at);
    case DType::kF64:
      return load<double>(at);
    case DType::kI64:
      return load<int64_t>(at);
    case DType::kI32:
      return load<int32_t>(at);
    case DType::kI16:
      return load<int16_t>(at);
    case DType::kI8:
      return load<int8_t>(at);
    case DType::kU8:
    case DType::kBool:
      return load<uint8_t>(at);
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  float value = 0;
  convert_to_f32(tensor.dtype, at, &value, 1);
  return value;
}

void expect_tensors(const Checkpoint& checkpoint, const JsonValue& expected) {
  const auto members = expected.members("tensors");
  EXPECT_EQ(checkpoint.tensors().size(), members.size());
  for (const auto& [name, facts] : members) {
    SCOPED_TRACE(std::string(name));
    const TensorView* tensor = checkpoint.find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(name_of(tensor->dtype), facts.at("dtype").string("dtype"));
    Shape shape;
    for (const auto& dim : facts.at("shape").elements("shape")) shape.push_back(dim.integer("dim"));
    EXPECT_EQ(tensor->shape, shape);
    const auto values = facts.at("values").elements("values");
    ASSERT_EQ(tensor->bytes.size(), values.size() * size_of(tensor->dtype));
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(element(*tensor, i), values[i].number("value")) << "element " << i;
    }
  }
}

class TorchFixture : public ::testing::TestWithParam<std::string> {};

TEST_P(TorchFixture, ReadsAsTorchWroteIt) {
  const fs::path file = kFixtures / (GetParam() + ".bin");
  const auto facts =
      JsonDocument::parse(read_text_file(kFixtures / (GetParam() + ".json")), "facts");
  const auto error = facts.root().find("error");
  if (!error) {
    expect_tensors(Checkpoint::open_file(file), facts.root().at("tensors"));
    return;
  }
  try {
    Checkpoint::open_file(file);
    FAIL() << "no error";
  } catch (const Error& e) {
    const std::string_view message = e.what();
    EXPECT_EQ(info(e.code()).name, error->string("error")) << message;
    EXPECT_NE(message.find(file.string()), message.npos) << message;
    for (const auto& word : facts.root().at("words").elements("words")) {
      EXPECT_NE(message.find(word.string("word")), message.npos) << message;
    }
  }
}

std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFixtures)) {
    if (entry.path().extension() == ".bin") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, TorchFixture, ::testing::ValuesIn(fixture_names()),
                         [](const auto& param) { return param.param; });

TEST(TorchFixtures, TheFolderIsNotEmpty) { EXPECT_GE(fixture_names().size(), 12u); }

TEST(TorchFixtures, TiedTensorsShareBytes) {
  const auto checkpoint = Checkpoint::open_file(kFixtures / "tied.bin");
  EXPECT_EQ(checkpoint.find("word.weight")->bytes.data(),
            checkpoint.find("decoder.weight")->bytes.data());
  EXPECT_EQ(checkpoint.find("rows")->bytes.data(),
            checkpoint.find("word.weight")->bytes.data() + 4 * sizeof(float));
}

// Each byte cut off, each byte changed: never anything but an Error or a result.
TEST(TorchFixtures, TruncatedOrFlippedFilesNeverCrash) {
  const std::string whole = read_text_file(kFixtures / "nested.bin");
  const auto parse = [](const std::string& text) {
    try {
      parse_torch_zip(std::as_bytes(std::span(text)), "x");
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::kDataLoss || e.code() == ErrorCode::kUnimplemented)
          << e.what();
    }
  };
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_ERROR(parse_torch_zip(std::as_bytes(std::span(whole).first(size)), "x"), kDataLoss);
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      parse(damaged);
    }
  }
}

}  // namespace
}  // namespace tamis::io
