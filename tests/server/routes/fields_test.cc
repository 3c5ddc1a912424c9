// Reading a body: what is said of a field that is wrong.

#include "dto/fields.h"

#include "dto/base64.h"
#include "served.h"

namespace tamis::server {
namespace {

template <class Read>
std::string said(const std::string& body, const Read& read) {
  Request request;
  request.body = body;
  try {
    const Body fields(request);
    read(*fields);
  } catch (const HttpError& error) {
    EXPECT_EQ(error.status, 400);
    return error.message;
  }
  return "";
}

TEST(Fields, SayWhichExpectedAndGot) {
  const auto text = [](const Fields& fields) { fields.text("query"); };
  EXPECT_EQ(said("{}", text), "query: expected a string, got nothing");
  EXPECT_EQ(said(R"({"query":null})", text), "query: expected a string, got nothing");
  EXPECT_EQ(said(R"({"query":7})", text), "query: expected a string, got an integer");
  EXPECT_EQ(said("[1]", text), "the body: expected an object, got an array");
  EXPECT_EQ(said(R"({"a":1,"a":1})", text), "a: expected one such member, got two");
  const auto texts = [](const Fields& fields) { fields.texts("documents"); };
  EXPECT_EQ(said(R"({"documents":"a"})", texts),
            "documents: expected an array of strings, got a string");
  EXPECT_EQ(said(R"({"documents":["a",null]})", texts),
            "documents[1]: expected a string, got null");
  EXPECT_EQ(said(R"({"documents":[]})", texts),
            "documents: expected at least one, got an empty list");
  const auto inner = [](const Fields& fields) { fields.object("query").text("text"); };
  EXPECT_EQ(said(R"({"query":{"text":1}})", inner),
            "query.text: expected a string, got an integer");
  EXPECT_EQ(said(R"({"query":{"text":"a","text":"b"}})", inner),
            "query.text: expected one such member, got two");
}

TEST(Fields, NumbersHaveRanges) {
  const auto count = [](const Fields& fields) { fields.count("top_n"); };
  EXPECT_EQ(said(R"({"top_n":null})", count), "");
  EXPECT_EQ(said(R"({"top_n":2147483647})", count), "");
  EXPECT_EQ(said(R"({"top_n":-1})", count),
            "top_n: expected an integer from 0 to 2147483647, got -1");
  EXPECT_EQ(said(R"({"top_n":1.5})", count),
            "top_n: expected an integer from 0 to 2147483647, got a number");
  EXPECT_EQ(said(R"({"top_n":true})", count),
            "top_n: expected an integer from 0 to 2147483647, got a boolean");
  for (const char* number : {"2147483648", "9223372036854775807", "18446744073709551615"}) {
    EXPECT_NE(said(std::string(R"({"top_n":)") + number + "}", count), "") << number;
  }
  // Larger than any integer: the parser's affair.
  EXPECT_NE(said(R"({"top_n":123456789012345678901234567890})", count), "");
}

TEST(Fields, ChoicesAreReadInAnyCase) {
  const auto choice = [](const Fields& fields) {
    EXPECT_EQ(fields.choice("truncate", {"NONE", "END"}, "END"), "NONE");
  };
  EXPECT_EQ(said(R"({"truncate":"none"})", choice), "");
  EXPECT_EQ(said(R"({"truncate":"MIDDLE"})", choice),
            "truncate: expected one of NONE, END, got \"MIDDLE\"");
}

TEST(Base64, IsThatOfLittleEndianFloats) {
  EXPECT_EQ(base64({}), "");
  const std::vector<float> values = {1.0F, -2.5F, 0.0F};
  EXPECT_EQ(base64(std::span(values).first(1)), "AACAPw==");
  EXPECT_EQ(base64(std::span(values).first(2)), "AACAPwAAIMA=");
  EXPECT_EQ(base64(values), "AACAPwAAIMAAAAAA");
}

}  // namespace
}  // namespace tamis::server
