#include "text/trie.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <string>

namespace tamis::text {
namespace {

Trie build(const std::vector<std::string>& keys) {
  std::vector<Trie::Entry> entries;
  for (size_t i = 0; i < keys.size(); ++i) entries.push_back({keys[i], static_cast<uint32_t>(i)});
  return Trie::build(entries);
}

TEST(Trie, FindsKeysAndNothingElse) {
  const Trie trie = build({"a", "ab", "abcd", "b"});
  EXPECT_EQ(trie.find("a"), 0u);
  EXPECT_EQ(trie.find("ab"), 1u);
  EXPECT_EQ(trie.find("abc"), Trie::kNone);
  EXPECT_EQ(trie.find("abcd"), 2u);
  EXPECT_EQ(trie.find("abcde"), Trie::kNone);
  EXPECT_EQ(trie.find(""), Trie::kNone);
  EXPECT_EQ(trie.find(std::string_view("\0", 1)), Trie::kNone);
}

TEST(Trie, TheLastOfEqualKeysCounts) { EXPECT_EQ(build({"x", "y", "x"}).find("x"), 2u); }

TEST(Trie, CanBeEmpty) {
  EXPECT_EQ(build({}).find("a"), Trie::kNone);
  EXPECT_EQ(build({""}).find(""), 0u);
}

TEST(Trie, KeysMayHoldEveryByte) {
  std::vector<std::string> keys;
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; b += 3) {
      keys.push_back({static_cast<char>(a), static_cast<char>(b)});
    }
  }
  const Trie trie = build(keys);
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(trie.find(keys[i]), i);
  EXPECT_EQ(trie.find(std::string_view("\0\1", 2)), Trie::kNone);
}

TEST(Trie, AgreesWithAMap) {
  EXPECT_TRUE(rc::check([] {
    // Few different bytes, so that keys share prefixes.
    const auto word =
        rc::gen::container<std::string>(rc::gen::element('\0', 'a', 'b', '\x7f', '\x80', '\xff'));
    const auto keys = *rc::gen::container<std::vector<std::string>>(word);
    const auto probes = *rc::gen::container<std::vector<std::string>>(word);
    std::map<std::string, uint32_t> expected;
    for (size_t i = 0; i < keys.size(); ++i) expected[keys[i]] = static_cast<uint32_t>(i);
    const Trie trie = build(keys);
    for (const auto& list : {keys, probes}) {
      for (const auto& key : list) {
        const auto at = expected.find(key);
        RC_ASSERT(trie.find(key) == (at == expected.end() ? Trie::kNone : at->second));
      }
    }
  }));
}

}  // namespace
}  // namespace tamis::text
