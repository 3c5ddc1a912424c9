#include "base/byte_size.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "tamis/error.h"

namespace tamis {
namespace {

TEST(ParseBytes, Units) {
  EXPECT_EQ(parse_bytes("0"), 0u);
  EXPECT_EQ(parse_bytes("1024"), 1024u);
  EXPECT_EQ(parse_bytes("007"), 7u);
  EXPECT_EQ(parse_bytes("512B"), 512u);
  EXPECT_EQ(parse_bytes("512 B"), 512u);
  EXPECT_EQ(parse_bytes("64KB"), 64'000u);
  EXPECT_EQ(parse_bytes("64 KiB"), 65'536u);
  EXPECT_EQ(parse_bytes("1MB"), 1'000'000u);
  EXPECT_EQ(parse_bytes("512MiB"), size_t{512} << 20);
  EXPECT_EQ(parse_bytes("16GB"), 16'000'000'000u);
  EXPECT_EQ(parse_bytes("1.5GiB"), size_t{3} << 29);
  EXPECT_EQ(parse_bytes("2TB"), 2'000'000'000'000u);
  EXPECT_EQ(parse_bytes("2TiB"), size_t{2} << 40);
  EXPECT_EQ(parse_bytes("16gIb"), size_t{16} << 30);
  EXPECT_EQ(parse_bytes("3 kb"), 3000u);
}

TEST(ParseBytes, FractionsAreRoundedToTheNearestByte) {
  EXPECT_EQ(parse_bytes("0.7GB"), 700'000'000u);
  EXPECT_EQ(parse_bytes("1.21 GB"), 1'210'000'000u);
  EXPECT_EQ(parse_bytes("0.0004KB"), 0u);
  EXPECT_EQ(parse_bytes("0.0006KB"), 1u);
  EXPECT_EQ(parse_bytes("1.9999999999999999999999KB"), 2000u);
  EXPECT_EQ(parse_bytes("1." + std::string(5000, '0') + "1KB"), 1000u);
}

TEST(ParseBytes, TheLargest) {
  EXPECT_EQ(parse_bytes("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(parse_bytes("15EiB"), uint64_t{15} << 60);
}

void expect_refused(const std::string& text, const std::string& expected) {
  try {
    const size_t got = parse_bytes(text);
    ADD_FAILURE() << '"' << text << "\" was read as " << got;
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find(expected), std::string::npos) << message;
    EXPECT_NE(message.find(text.substr(0, 40)), std::string::npos) << message;
    EXPECT_LT(message.size(), 250u);
  }
}

TEST(ParseBytes, Junk) {
  for (const char* text :
       {"",     " ",    "B",     "GB",   " 1GB",   "1GB ",   "1  GB", "1\tGB",   "-1",
        "+1",   "-1GB", "1e9",   "0x10", "1G",     "1GiBB",  "1Gi",   "1ib",     "1XB",
        "1.5",  "1.5B", "1.5 B", "1.GB", ".5GB",   "1..5GB", "1,5GB", "1.5.5GB", "1 000",
        "1GB2", "inf",  "nan",   "max",  "one GB", "1 ",     "1.",    "."}) {
    expect_refused(text, "expected digits and a unit");
  }
  EXPECT_THROW(parse_bytes(std::string_view("1GB\0", 4)), Error);
  expect_refused(std::string(100'000, 'x'), "expected digits and a unit");
}

TEST(ParseBytes, Overflow) {
  for (const char* text : {"18446744073709551616", "99999999999999999999999GB", "16EiB",
                           "18446744073709551615KB", "15.9999999999999999999EiB", "19 EB"}) {
    expect_refused(text, "expected at most 18446744073709551615");
  }
}

TEST(FormatBytes, ThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 KB");
  EXPECT_EQ(format_bytes(9994), "9.99 KB");
  EXPECT_EQ(format_bytes(9996), "10.0 KB");
  EXPECT_EQ(format_bytes(99'940), "99.9 KB");
  EXPECT_EQ(format_bytes(99'960), "100 KB");
  EXPECT_EQ(format_bytes(999'400), "999 KB");
  EXPECT_EQ(format_bytes(999'600), "1.00 MB");
  EXPECT_EQ(format_bytes(25'165'824), "25.2 MB");
  EXPECT_EQ(format_bytes(1'210'000'000), "1.21 GB");
  EXPECT_EQ(format_bytes(139'000'000'000), "139 GB");
  EXPECT_EQ(format_bytes(std::numeric_limits<uint64_t>::max()), "18.4 EB");
}

TEST(FormatBytes, ComesBack) {
  for (const size_t bytes : {size_t{0}, size_t{999}, size_t{25'200'000}, size_t{1'210'000'000}}) {
    EXPECT_EQ(parse_bytes(format_bytes(bytes)), bytes);
  }
}

}  // namespace
}  // namespace tamis
