#include "table.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "display_width.h"
#include "notices.h"

namespace tamis::cli {
namespace {

constexpr size_t kMinPassageColumns = 16;  // on a terminal narrower than that, lines wrap

struct Column {
  std::string heading;
  std::vector<std::string> cells;

  size_t width() const {
    size_t out = display_width(heading);
    for (const auto& cell : cells) out = std::max(out, display_width(cell));
    return out;
  }
};

std::string value_cell(const RerankResult& result, bool sigmoid) {
  return fmt::format("{:.4f}", sigmoid ? result.score : static_cast<double>(result.logit));
}

// One column for the logit or score; with several labels one for each.
std::vector<Column> value_columns(const RerankTable& table) {
  std::vector<Column> out;
  const size_t labels = table.results.empty() ? 0 : table.results.front().logits.size();
  if (labels == 0) out.push_back({table.sigmoid ? "score" : "logit", {}});
  for (size_t i = 0; i < labels; ++i) {
    const bool named = i < table.labels.size();
    out.push_back({named ? fit_to_columns(table.labels[i], 16) : fmt::format("logit {}", i), {}});
  }
  for (const RerankResult& result : table.results) {
    if (labels == 0) out[0].cells.push_back(value_cell(result, table.sigmoid));
    for (size_t i = 0; i < labels; ++i) {
      out[i].cells.push_back(fmt::format("{:.4f}", result.logits[i]));
    }
  }
  return out;
}

std::vector<Column> number_columns(const RerankTable& table) {
  Column rank{"rank", {}}, tokens{"tokens", {}}, index{"index", {}};
  for (const RerankResult& result : table.results) {
    rank.cells.push_back(std::to_string(rank.cells.size() + 1));
    // The blank keeps the digits of cut and whole passages in line.
    tokens.cells.push_back(grouped(result.tokens) + (result.truncated ? "*" : " "));
    index.cells.push_back(std::to_string(result.index));
  }
  std::vector<Column> out = {std::move(rank)};
  for (Column& column : value_columns(table)) out.push_back(std::move(column));
  out.push_back(std::move(tokens));
  out.push_back(std::move(index));
  return out;
}

}  // namespace

void write_table(std::string& out, const RerankTable& table) {
  const std::vector<Column> columns = number_columns(table);
  std::vector<size_t> widths;
  size_t used = 0;
  for (const Column& column : columns) {
    widths.push_back(column.width());
    used += widths.back() + 2;
  }
  const size_t passage_columns =
      table.columns == 0
          ? 0
          : std::max(kMinPassageColumns, table.columns > used ? table.columns - used : size_t{0});
  if (table.bold) out += "\x1b[1m";
  for (size_t i = 0; i < columns.size(); ++i) out += pad_left(columns[i].heading, widths[i]) + "  ";
  out += table.bold ? "passage\x1b[0m\n" : "passage\n";
  for (size_t row = 0; row < table.results.size(); ++row) {
    for (size_t i = 0; i < columns.size(); ++i) {
      out += pad_left(columns[i].cells[row], widths[i]) + "  ";
    }
    out += fit_to_columns(table.passages[table.results[row].index], passage_columns) + "\n";
  }
  const auto cut = [](const RerankResult& result) { return result.truncated; };
  if (std::any_of(table.results.begin(), table.results.end(), cut)) {
    out += "* longer than the maximum length; only the beginning was read\n";
  }
}

}  // namespace tamis::cli
