#include "io/json_writer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "io/utf8.h"
#include "tamis/error.h"

namespace tamis::io {
namespace {

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(JsonWriter, CompactDocument) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.key("a").begin_array().integer(-1).unsigned_integer(~0ull).boolean(true).null().end_array();
  json.key("b").begin_object().end_object();
  json.key("c").begin_array().end_array();
  json.key("d").number(0.1f).key("e").number(0.1).key("f").string("x");
  json.end_object();
  EXPECT_EQ(out,
            R"({"a":[-1,18446744073709551615,true,null],"b":{},"c":[],"d":0.1,"e":0.1,"f":"x"})");
}

TEST(JsonWriter, IndentedDocumentIsTheSameDocument) {
  std::string out;
  JsonWriter json(out, 2);
  const std::array<float, 3> values = {1.5f, -2.0f, 3e-30f};
  const std::array<int32_t, 2> ids = {7, -8};
  json.begin_array().begin_object().key("v").numbers(values).key("i").integers(ids).end_object();
  json.begin_array().end_array().end_array();
  EXPECT_EQ(out, "[\n  {\n    \"v\": [1.5,-2,3e-30],\n    \"i\": [7,-8]\n  },\n  []\n]");
}

TEST(JsonWriter, SeveralRootsNeedNoReset) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().end_object();
  out += '\n';
  json.begin_object().key("k").integer(1).end_object();
  EXPECT_EQ(out, "{}\n{\"k\":1}");
}

TEST(JsonWriter, ControlCharactersAreEscaped) {
  EXPECT_EQ(json_text(std::string_view("\0\x01\b\t\n\v\f\r\x1f\"\\/\x7f", 13)),
            R"("\u0000\u0001\b\t\n\u000b\f\r\u001f\"\\/\u007f")");
}

TEST(JsonWriter, IllFormedUtf8BecomesReplacementCharacters) {
  EXPECT_EQ(json_text("a\xff\"b\xe4\xbd"), "\"a\xEF\xBF\xBD\\\"b\xEF\xBF\xBD\"");
}

TEST(JsonWriter, NonFiniteNumbersAreRefused) {
  std::string out;
  JsonWriter json(out);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(json.number(nan), Error);
  EXPECT_THROW(json.number(std::numeric_limits<double>::infinity()), Error);
  EXPECT_THROW(json.numbers(std::span(&nan, 1)), Error);
}

RC_GTEST_PROP(JsonWriter, AnyBytesReadBack, (const std::string& text)) {
  std::string expected;
  append_repaired_utf8(expected, text);
  RC_ASSERT(nlohmann::json::parse(json_text(text)).get<std::string>() == expected);
}

RC_GTEST_PROP(JsonWriter, FloatsReadBackExactly, (uint32_t bits)) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  RC_PRE(std::isfinite(value));
  std::string out;
  JsonWriter(out).number(value);
  const auto back = nlohmann::json::parse(out).get<float>();
  RC_ASSERT(back == value);
  RC_ASSERT(std::signbit(back) == std::signbit(value));
}

RC_GTEST_PROP(JsonWriter, DoublesReadBackExactly, (uint64_t bits)) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  RC_PRE(std::isfinite(value));
  std::string out;
  JsonWriter(out).number(value);
  RC_ASSERT(nlohmann::json::parse(out).get<double>() == value);
}

// A random tree, written twice: by nlohmann as the model and by the writer.
nlohmann::json random_tree(int depth);

nlohmann::json random_leaf() {
  switch (*rc::gen::inRange(0, 5)) {
    case 0:
      return nullptr;
    case 1:
      return *rc::gen::arbitrary<bool>();
    case 2:
      return *rc::gen::arbitrary<int64_t>();
    case 3:
      return static_cast<double>(*rc::gen::arbitrary<int32_t>()) / 64;
    default:
      return *rc::gen::string<std::string>();
  }
}

nlohmann::json random_tree(int depth) {
  const int kind = depth == 0 ? 0 : *rc::gen::inRange(0, 3);
  if (kind == 0) return random_leaf();
  nlohmann::json out = kind == 1 ? nlohmann::json::array() : nlohmann::json::object();
  const int members = *rc::gen::inRange(0, 4);
  for (int i = 0; i < members; ++i) {
    if (kind == 1)
      out.push_back(random_tree(depth - 1));
    else
      out[*rc::gen::string<std::string>()] = random_tree(depth - 1);
  }
  return out;
}

// What the writer makes of ill-formed strings, applied to the model.
std::string repaired(const std::string& text) {
  std::string out;
  append_repaired_utf8(out, text);
  return out;
}

nlohmann::json written(const nlohmann::json& tree, JsonWriter& json) {
  if (tree.is_null()) return json.null(), tree;
  if (tree.is_boolean()) return json.boolean(tree), tree;
  if (tree.is_number_integer()) return json.integer(tree), tree;
  if (tree.is_number()) return json.number(tree.get<double>()), tree;
  if (tree.is_string()) {
    json.string(tree.get_ref<const std::string&>());
    return repaired(tree);
  }
  nlohmann::json expected = tree.is_array() ? nlohmann::json::array() : nlohmann::json::object();
  if (tree.is_array()) {
    json.begin_array();
    for (const auto& item : tree) expected.push_back(written(item, json));
    json.end_array();
    return expected;
  }
  json.begin_object();
  for (const auto& [key, item] : tree.items()) {
    json.key(key);
    expected[repaired(key)] = written(item, json);
  }
  json.end_object();
  return expected;
}

RC_GTEST_PROP(JsonWriter, AnyTreeReadsBack, ()) {
  const nlohmann::json tree = random_tree(4);
  for (const int indent : {0, 2}) {
    std::string out;
    JsonWriter json(out, indent);
    const nlohmann::json expected = written(tree, json);
    RC_ASSERT(nlohmann::json::parse(out) == expected);
  }
}

TEST(Utf8, MaximalSubpartsAsInTheUnicodeStandard) {
  // Unicode 15, tables 3-8 to 3-11.
  const auto count = [](std::string_view text) {
    std::string out;
    return append_repaired_utf8(out, text);
  };
  EXPECT_EQ(count("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), 8u);
  EXPECT_EQ(count("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), 8u);
  EXPECT_EQ(count("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), 7u);
  EXPECT_EQ(count("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), 4u);
}

TEST(Utf8, EveryCodePointMakesTheRoundTrip) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code == 0xD800) code = 0xE000;
    std::string text;
    append_utf8(text, code);
    const Utf8Step step = decode_utf8(text, 0);
    ASSERT_TRUE(step.well_formed && step.code == code && step.bytes == text.size())
        << static_cast<uint32_t>(code);
  }
  EXPECT_TRUE(is_utf8(""));
  EXPECT_FALSE(is_utf8("\xED\xA0\x80"));  // a surrogate
}

}  // namespace
}  // namespace tamis::io
