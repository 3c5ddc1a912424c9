#include "text/pattern.h"

#include <gtest/gtest.h>

#include "small_tokenizers.h"

namespace tamis::text {
namespace {

std::string replaced(const Pattern& pattern, std::string_view text) {
  std::string out;
  size_t at = 0;
  while (const auto match = pattern.find(text, at)) {
    out.append(text.substr(at, match->begin - at)).append("#");
    at = match->end;
  }
  return out.append(text.substr(at));
}

std::string regex(std::string_view expression, std::string_view text) {
  return replaced(Pattern::regex(expression, "test"), text);
}

TEST(Pattern, Literals) {
  EXPECT_EQ(replaced(Pattern::literal(" {2,}", "test"), "a {2,}b  c"), "a#b  c");
  EXPECT_EQ(replaced(Pattern::literal("aa", "test"), "aaaaa"), "##a");
  EXPECT_EQ(regex("abc", "xabcabcx"), "x##x");
  EXPECT_EQ(regex("\\.", "a.b"), "a#b");
  EXPECT_EQ(regex("x\\{\\\\", "x{\\"), "#");
}

TEST(Pattern, Repetitions) {
  EXPECT_EQ(regex(" {2,}", " a  b   c    "), " a#b#c#");
  EXPECT_EQ(regex(" +", " a  b"), "#a#b");
  EXPECT_EQ(regex("a{3}", "aaaaaaa"), "##a");
  EXPECT_EQ(regex("\u00e9{2,}", "\u00e9 \u00e9\u00e9\u00e9"), "\u00e9 #");
  EXPECT_EQ(regex("\\s+", "a\t\u3000 b\n"), "a#b#");
  EXPECT_EQ(regex("\\s{2,}", "a \t\u3000b c"), "a#b c");
  EXPECT_EQ(regex("\\s", "a  b"), "a##b");
}

TEST(Pattern, OthersAreRefusedByName) {
  for (const char* expression :
       {"", "a*", "a?", "[ab]", "(a)", "a|b", "^a", "a$", ".", "\\d", "ab+", "a{0,}", "a{,3}",
        "a{2,3}", "a{2", "a{99999}", "\\", "\\s{2}", "a++"}) {
    expect_error(ErrorCode::kUnimplemented, expression,
                 [&] { Pattern::regex(expression, "test"); });
  }
  expect_error(ErrorCode::kUnimplemented, "empty", [] { Pattern::literal("", "test"); });
}

}  // namespace
}  // namespace tamis::text
