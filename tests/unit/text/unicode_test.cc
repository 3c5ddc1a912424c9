#include "text/unicode.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "io/utf8.h"
#include "text/utf8.h"

namespace tamis::text {
namespace {

std::string form(NormalForm which, std::string_view text) {
  std::string out;
  Unicode::get().normalize(which, text, out);
  return out;
}

std::string nfc(std::string_view text) { return form(NormalForm::kNfc, text); }
std::string nfd(std::string_view text) { return form(NormalForm::kNfd, text); }

TEST(Unicode, NormalForms) {
  EXPECT_EQ(nfd("\u00e9\uac01"), "e\u0301\u1100\u1161\u11a8");
  EXPECT_EQ(nfc("e\u0301\u1100\u1161\u11a8"), "\u00e9\uac01");
  EXPECT_EQ(nfc("\uac00\u11a7"), "\uac00\u11a7");    // U+11A7 is no final consonant
  EXPECT_EQ(nfd("a\u0301\u0316"), "a\u0316\u0301");  // marks in order of their classes
  EXPECT_EQ(nfc("a\u0316\u0301"), "\u00e1\u0316");   // composes over a mark of lower class
  EXPECT_EQ(nfc("a\u0302\u0301"), "\u1ea5");
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");  // never composed again
  EXPECT_EQ(nfc("\u212b"), "\u00c5");
  EXPECT_EQ(form(NormalForm::kNfkc, "\ufb01\u2122\u3300"), "fiTM\u30a2\u30d1\u30fc\u30c8");
  EXPECT_EQ(form(NormalForm::kNfkd, "\u00bd"), "1\u20442");
}

TEST(Unicode, NormalFormsAreStable) {
  const auto text = rc::gen::map(
      rc::gen::container<std::vector<uint32_t>>(rc::gen::oneOf(
          rc::gen::inRange<uint32_t>(0x20, 0x370), rc::gen::inRange<uint32_t>(0x900, 0xE00),
          rc::gen::inRange<uint32_t>(0x1100, 0x1200), rc::gen::inRange<uint32_t>(0xAC00, 0xAD00),
          rc::gen::inRange<uint32_t>(0xF900, 0x10FFFF))),
      [](const std::vector<uint32_t>& characters) {
        std::string out;
        for (const uint32_t c : characters) io::append_utf8(out, c);
        return out;
      });
  EXPECT_TRUE(rc::check([&] {
    const std::string t = *text;
    RC_ASSERT(nfc(nfd(t)) == nfc(t));
    RC_ASSERT(nfd(nfc(t)) == nfd(t));
    RC_ASSERT(nfd(nfd(t)) == nfd(t));
    const auto nfkd = form(NormalForm::kNfkd, t);
    RC_ASSERT(form(NormalForm::kNfkd, nfkd) == nfkd);
  }));
}

std::vector<size_t> clusters(std::string_view text) {
  std::vector<size_t> lengths;
  for (size_t at = 0; at < text.size();) {
    const size_t end = Unicode::get().cluster_end(text, at);
    lengths.push_back(end - at);
    at = end;
  }
  return lengths;
}

TEST(Unicode, GraphemeClusters) {
  using Lengths = std::vector<size_t>;
  EXPECT_EQ(clusters("ab"), (Lengths{1, 1}));
  EXPECT_EQ(clusters("\r\n\n"), (Lengths{2, 1}));
  EXPECT_EQ(clusters("a\u0301\u0903b"), (Lengths{6, 1}));
  EXPECT_EQ(clusters("\n\u0301"), (Lengths{1, 2}));                  // nothing joins a control
  EXPECT_EQ(clusters("\u0600a"), (Lengths{3}));                      // prepended mark
  EXPECT_EQ(clusters("\u1100\u1161\u11a8\u1100"), (Lengths{9, 3}));  // Hangul
  EXPECT_EQ(clusters("\uac00\u11a8\uac01\u1161"), (Lengths{6, 3, 3}));
  EXPECT_EQ(clusters("\u0915\u094d\u0937\u0915"), (Lengths{9, 3}));      // Devanagari conjunct
  EXPECT_EQ(clusters("\u0915\u0903\u094d\u0937"), (Lengths{9, 3}));      // broken by a vowel sign
  EXPECT_EQ(clusters("\U0001f468\u200d\U0001f33e!"), (Lengths{11, 1}));  // emoji sequence
  EXPECT_EQ(clusters("a\u200d\U0001f33e"), (Lengths{4, 4}));
}

TEST(Unicode, Properties) {
  const Unicode& u = Unicode::get();
  EXPECT_TRUE(u.is_whitespace(0x3000) && u.is_whitespace(0x85) && !u.is_whitespace(0x200B));
  EXPECT_TRUE(u.is_punctuation('$') && u.is_punctuation(0x3002) && !u.is_punctuation('a'));
  EXPECT_TRUE(u.is_nonspacing_mark(0x301) && !u.is_nonspacing_mark(0x903));
  EXPECT_TRUE(u.is_combining_mark(0x903) && u.is_word('_') && u.is_word(0x4E2D) && !u.is_word('-'));
  EXPECT_TRUE(u.is_bert_removed(0x200B) && u.is_bert_removed(0) && u.is_bert_removed(0xFFFD));
  EXPECT_TRUE(u.is_numeric('7') && u.is_numeric(0xBD) && !u.is_numeric('x'));
  EXPECT_EQ(u.combining_class(0x301), 230);
  EXPECT_EQ(u.lower(0x130).size(), 2u);
  EXPECT_TRUE(u.lower('a').empty());
  EXPECT_FALSE(u.is_word(0x10FFFF));
}

}  // namespace
}  // namespace tamis::text
