#include "io/html_page.h"

#include <fmt/format.h>

#include "io/utf8.h"

namespace tamis::io {
namespace {

// The classes are those of svg_plot.h.
constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ground: #fff; --text: #1c2024; --quiet: #5b6470;
  --rule: #d5dae0; --band: #f4f6f8; --s0: #2f6fc4; --s1: #bf5a12; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181d; --text: #e4e8ec; --quiet: #9aa4b0; --rule: #333b45;
    --band: #1c2228; --s0: #6ea4ec; --s1: #e89a5c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem; background: var(--ground);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 45rem; overflow-wrap: anywhere; }
footer { color: var(--quiet); font-size: .875rem; margin-top: 3rem; }
figure { margin: 1.5rem 0; overflow-x: auto; }
figcaption { font-weight: 600; margin-bottom: .5rem; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; font-family: inherit;
  fill: var(--quiet); }
svg .grid, svg .axis { stroke: var(--rule); stroke-opacity: 1; }
svg .axis { stroke: var(--quiet); }
svg .line.s0 { stroke: var(--s0); } svg .line.s1 { stroke: var(--s1); }
svg .fill.s0 { fill: var(--s0); } svg .fill.s1 { fill: var(--s1); }
svg .interval { stroke: var(--text); }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--quiet); white-space: nowrap; }
.words { text-align: left; overflow-wrap: anywhere; }
.words:first-child { min-width: 9rem; }
tbody tr:nth-child(even) { background: var(--band); }
)";

/// XML 1.0, "Char"; the rest of its exceptions are no characters at all.
bool allowed(char32_t c) {
  if (c < 0x20) return c == '\t' || c == '\n' || c == '\r';
  return c != 0x7f && c != 0xfffe && c != 0xffff;
}

}  // namespace

std::string escaped_markup(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    at += step.bytes;
    switch (step.code) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        append_utf8(out, allowed(step.code) ? step.code : kReplacementCharacter);
    }
  }
  return out;
}

std::string shortened(std::string_view text, size_t most) {
  size_t characters = 0;
  for (size_t at = 0; at < text.size(); ++characters) at += decode_utf8(text, at).bytes;
  if (characters <= most) return std::string(text);
  size_t at = 0;
  for (size_t skipped = 0; skipped < characters - most + 1; ++skipped) {
    at += decode_utf8(text, at).bytes;
  }
  return "…" + std::string(text.substr(at));
}

std::string html_page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      escaped_markup(title), kStyle, body);
}

std::string html_table(const HtmlTable& table) {
  std::string out = "<div class=\"table\"><table>\n<thead><tr>";
  const auto kind = [&](size_t column) {
    return column < table.columns_of_words ? " class=\"words\"" : "";
  };
  for (size_t i = 0; i < table.head.size(); ++i) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", kind(i), escaped_markup(table.head[i]));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      out += fmt::format("<td{}>{}</td>", kind(i), escaped_markup(row[i]));
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>\n";
}

std::string html_figure(std::string_view caption, std::string_view svg) {
  return fmt::format("<figure>\n<figcaption>{}</figcaption>\n{}</figure>\n",
                     escaped_markup(caption), svg);
}

}  // namespace tamis::io
