#include "text/precompiled.h"

#include <gtest/gtest.h>

#include <cstring>

#include "small_tokenizers.h"

namespace tamis::text {
namespace {

std::string charsmap(const std::vector<uint32_t>& units, std::string_view replacements) {
  std::string out(4 + units.size() * 4, '\0');
  const auto bytes = static_cast<uint32_t>(units.size() * 4);
  std::memcpy(out.data(), &bytes, 4);
  std::memcpy(out.data() + 4, units.data(), bytes);
  return out.append(replacements);
}

/// Maps "a" to "XY" and nothing else: the root at 0 leads to 'a' at 256 ^ 'a', its value to 512.
std::vector<uint32_t> a_to_xy() {
  std::vector<uint32_t> units(513);
  units[0] = 256u << 10;
  units[256 ^ 'a'] = 'a' | 1u << 8 | ((256u ^ 'a') ^ 512u) << 10;
  units[512] = 1u << 31;
  return units;
}

std::string apply(const Precompiled& step, std::string_view text) {
  Stretch out;
  step.apply({std::string(text), 0}, out);
  return out.text;
}

TEST(Precompiled, ReplacesWholeClustersUnderSixBytes) {
  const Precompiled step(charsmap(a_to_xy(), std::string_view("XY\0", 3)), "test");
  EXPECT_EQ(apply(step, "banana"), "bXYnXYnXY");
  EXPECT_EQ(apply(step, "a\u0301"), "XY");                                // the mark is dropped
  EXPECT_EQ(apply(step, "a\u0301\u0301\u0301"), "XY\u0301\u0301\u0301");  // too long: one by one
  EXPECT_EQ(apply(step, "a\u200d"), "XY");
  EXPECT_EQ(apply(step, "\u0600a\u0301"), "\u0600XY\u0301");  // a prefix joins what follows
  EXPECT_EQ(apply(step, "a\r\na"), "XY\r\nXY");
  EXPECT_EQ(apply(step, ""), "");
}

TEST(Precompiled, RefusesTablesThatPointOutsideThemselves) {
  const auto refused = [](const std::string& map) {
    expect_error(ErrorCode::kDataLoss, "test", [&map] { Precompiled(map, "test"); });
  };
  refused("");
  refused("abc");
  refused(std::string("\4\0\0\0", 4));   // an array that is not there
  refused(std::string("\0\0\0\0x", 5));  // an empty one
  refused(std::string("\xff\xff\xff\xff\0\0\0\0", 8));
  const std::string_view text("XY\0", 3);
  auto units = a_to_xy();
  units[512] = 1u << 31 | 4;  // behind the replacements
  refused(charsmap(units, text));
  units = a_to_xy();
  units[256 ^ 'a'] = 'a' | 1u << 8 | 1000u << 10;  // behind the array
  refused(charsmap(units, text));
  units = a_to_xy();
  units[512] = 1u << 31 | 1;  // inside a character
  refused(charsmap(units, "\u00e9"));
  refused(charsmap(a_to_xy(), "\xff"));
}

TEST(Precompiled, StepsOutsideTheArrayAreNoMatch) {
  auto units = a_to_xy();
  units[0] = 0x3FFFFFu << 10;
  EXPECT_EQ(apply(Precompiled(charsmap(units, "XY"), "test"), "banana"), "banana");
}

TEST(Base64, DecodesAndRefuses) {
  EXPECT_EQ(decode_base64("", "test"), "");
  EXPECT_EQ(decode_base64("YQ==", "test"), "a");
  EXPECT_EQ(decode_base64("YWI=", "test"), "ab");
  EXPECT_EQ(decode_base64("YWJj/+8A", "test"), std::string("abc\xff\xef\0", 6));
  for (const char* bad : {"Y", "YQ", "YQ=", "Y===", "YQ==YQ==", "Y!==", "YWJ\n"}) {
    expect_error(ErrorCode::kDataLoss, "base64", [bad] { decode_base64(bad, "test"); });
  }
}

}  // namespace
}  // namespace tamis::text
