#include "io/json.h"

#include <gtest/gtest.h>

#include "io_test_util.h"

namespace tamis::io {
namespace {

using Kind = JsonValue::Kind;

JsonDocument parse(std::string_view text) { return JsonDocument::parse(text, "a.json"); }

TEST(Json, EveryKindIsKnown) {
  const auto document = parse(R"([null, true, -3, 2.5, "x", [], {}, 18446744073709551615])");
  const auto values = document.root().elements("root");
  const Kind expected[] = {Kind::kNull,   Kind::kBool,  Kind::kInteger, Kind::kDouble,
                           Kind::kString, Kind::kArray, Kind::kObject,  Kind::kInteger};
  ASSERT_EQ(values.size(), std::size(expected));
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i].kind(), expected[i]) << i;
  EXPECT_TRUE(values[1].boolean("b"));
  EXPECT_EQ(values[2].integer("i"), -3);
  EXPECT_EQ(values[2].number("i"), -3.0);
  EXPECT_EQ(values[3].number("d"), 2.5);
  EXPECT_EQ(values[4].string("s"), "x");
}

TEST(Json, WrongKindsNameDocumentAndKey) {
  const auto document = parse(R"({"s": "x", "n": 1, "d": 1.5, "o": {}})");
  const JsonValue root = document.root();
  EXPECT_ERROR(root.at("s").integer("s"), kDataLoss,
               "a.json: s: expected an integer, got a string");
  EXPECT_ERROR(root.at("n").string("n"), kDataLoss, "a.json: n: expected a string, got an integer");
  EXPECT_ERROR(root.at("d").integer("d"), kDataLoss, "expected an integer, got a number");
  EXPECT_ERROR(root.at("s").number("s"), kDataLoss, "expected a number, got a string");
  EXPECT_ERROR(root.at("n").boolean("n"), kDataLoss, "expected a boolean, got an integer");
  EXPECT_ERROR(root.at("o").elements("o"), kDataLoss, "expected an array, got an object");
  EXPECT_ERROR(root.at("n").members("n"), kDataLoss, "expected an object, got an integer");
  EXPECT_ERROR(root.at("n").at("x"), kDataLoss, "expected an object");
  EXPECT_ERROR(root.at("missing"), kDataLoss, "a.json: no \"missing\"");
  EXPECT_ERROR(root.string_or("n", ""), kDataLoss, "n: expected a string");
  EXPECT_ERROR(root.integer_or("s", 0), kDataLoss, "s: expected an integer");
}

TEST(Json, DefaultsStandForAbsentAndNull) {
  const auto document = parse(R"({"null": null, "n": 7, "f": 0.5, "t": true, "s": "x"})");
  const JsonValue root = document.root();
  for (const char* key : {"null", "absent"}) {
    EXPECT_EQ(root.string_or(key, "d"), "d");
    EXPECT_EQ(root.integer_or(key, 3), 3);
    EXPECT_EQ(root.number_or(key, 0.25), 0.25);
    EXPECT_TRUE(root.boolean_or(key, true));
    EXPECT_FALSE(root.find(key).has_value());
  }
  EXPECT_EQ(root.string_or("s", "d"), "x");
  EXPECT_EQ(root.integer_or("n", 3), 7);
  EXPECT_EQ(root.number_or("f", 3), 0.5);
  EXPECT_TRUE(root.boolean_or("t", false));
  EXPECT_FALSE(root.at("n").find("x").has_value());
}

TEST(Json, MembersKeepTheirOrderAndDuplicates) {
  const auto document = parse(R"({"b": 1, "a": 2, "b": 3})");
  const auto members = document.root().members("root");
  ASSERT_EQ(members.size(), 3u);
  EXPECT_EQ(members[0].first, "b");
  EXPECT_EQ(members[2].second.integer("b"), 3);
}

TEST(Json, StringsAreUnescaped) {
  const auto document = parse(R"({"a\u0062": "\u00e9\ud83d\ude00\n\"\u0000"})");
  EXPECT_EQ(document.root().at("ab").string("ab"), std::string_view("é😀\n\"\0", 9));
}

TEST(Json, BigNumbers) {
  const auto document = parse(R"([9223372036854775807, -9223372036854775808,
                                  9223372036854775808, 1e308, -0.0])");
  const auto values = document.root().elements("root");
  EXPECT_EQ(values[0].integer("v"), INT64_MAX);
  EXPECT_EQ(values[1].integer("v"), INT64_MIN);
  EXPECT_ERROR(values[2].integer("v"), kDataLoss, "expected an integer");
  EXPECT_EQ(values[2].number("v"), 9223372036854775808.0);
  EXPECT_EQ(values[3].number("v"), 1e308);
  EXPECT_ERROR(parse("1e999"), kDataLoss, "a.json", "not valid JSON");
  EXPECT_ERROR(parse("123456789012345678901234567890"), kDataLoss, "a.json");
}

TEST(Json, NotJson) {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\" 1}", "nul", "'a'", "[1] 2", "01", "NaN",
                           "\"\x01\"", "\"\\x\"", "\"\\ud800\"", "[1"}) {
    EXPECT_ERROR(parse(text), kDataLoss, "a.json: not valid JSON: ");
  }
}

TEST(Json, InvalidUtf8IsRefused) {
  for (const char* text : {"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
                           "\"\xe2\x82\"", "{\"\x80\": 1}"}) {
    EXPECT_ERROR(parse(text), kDataLoss, "a.json: not valid JSON");
  }
}

TEST(Json, NestingIsBounded) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(parse(nested(250)).root().is_array());
  EXPECT_ERROR(parse(nested(257)), kDataLoss, "a.json: not valid JSON");
  EXPECT_ERROR(parse(nested(1'000'000)), kDataLoss, "a.json: not valid JSON");
  EXPECT_ERROR(parse(std::string(1'000'000, '[')), kDataLoss, "a.json: not valid JSON");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_ERROR(parse(objects), kDataLoss, "a.json: not valid JSON");
}

TEST(Json, TheDocumentMayMove) {
  auto first = parse(R"({"a": [1, 2]})");
  const JsonValue value = first.root().at("a");
  const JsonDocument second = std::move(first);
  EXPECT_EQ(value.elements("a").size(), 2u);
  EXPECT_ERROR(value.integer("a"), kDataLoss, "a.json: a");
}

}  // namespace
}  // namespace tamis::io
