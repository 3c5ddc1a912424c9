// Text as markup, and what a page is made of. tests/cli/test_report_pages.py reads whole pages.

#include "io/html_page.h"

#include <gtest/gtest.h>

namespace tamis::io {
namespace {

TEST(EscapedMarkup, NothingOfATextBecomesMarkup) {
  EXPECT_EQ(escaped_markup("<b a=\"x\" c='y'>&amp;</b>"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;amp;&lt;/b&gt;");
  EXPECT_EQ(escaped_markup("größer \xe2\x89\xa5 𝄞\tx\n"), "größer ≥ 𝄞\tx\n");
  EXPECT_EQ(escaped_markup(std::string_view("a\0b\x1b[1m\x7f", 8)), "a\ufffdb\ufffd[1m\ufffd");
  EXPECT_EQ(escaped_markup("\xff\xc3"), "\ufffd\ufffd");
  EXPECT_EQ(escaped_markup("\xef\xbf\xbf"), "\ufffd");  // U+FFFF is no character
}

TEST(Shortened, KeepsTheEnd) {
  EXPECT_EQ(shortened("short", 5), "short");
  EXPECT_EQ(shortened("models/äöü", 4), "…äöü");
  EXPECT_EQ(shortened("models/äöü", 10), "models/äöü");
  EXPECT_EQ(shortened("", 3), "");
}

TEST(HtmlPage, TablesAndTitlesAreText) {
  const std::string table = html_table({{"<run>", "n"}, {{"a&b", "1"}, {"c", "2"}}});
  EXPECT_NE(table.find("<th scope=\"col\" class=\"words\">&lt;run&gt;</th>"), std::string::npos);
  EXPECT_NE(table.find("<tr><td class=\"words\">a&amp;b</td><td>1</td></tr>"), std::string::npos);
  const std::string page = html_page("</title><script>", "<p>body</p>\n");
  EXPECT_TRUE(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
  EXPECT_NE(page.find("<title>&lt;/title&gt;&lt;script&gt;</title>"), std::string::npos);
  EXPECT_NE(page.find("<body>\n<p>body</p>\n</body>"), std::string::npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(html_figure("<c>", "<svg/>").find("<figcaption>&lt;c&gt;</figcaption>\n<svg/>"),
            std::string::npos);
}

}  // namespace
}  // namespace tamis::io
