#pragma once

// A page that is one file and asks for nothing else: its style is in it, it has no script, and its
// policy forbids both from elsewhere. Light or dark as the reader's system is.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tamis::io {

/// Text as part of HTML or SVG, in elements and in attributes: & < > " ' as references; ill-formed
/// UTF-8 and characters that XML does not allow as U+FFFD.
std::string escaped_markup(std::string_view text);

/// At most so many characters, the beginning given up for an ellipsis: paths differ at their end.
std::string shortened(std::string_view text, size_t most);

/// body: markup.
std::string html_page(std::string_view title, std::string_view body);

/// Cells are text. The first columns, words, stand at the left, the others, numbers, at the right.
struct HtmlTable {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
  size_t columns_of_words = 1;
};
std::string html_table(const HtmlTable& table);

/// A picture with a line of text above it; svg: markup.
std::string html_figure(std::string_view caption, std::string_view svg);

}  // namespace tamis::io
