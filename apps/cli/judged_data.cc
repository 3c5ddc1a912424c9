#include "judged_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "lines.h"
#include "output.h"
#include "tamis/error.h"

namespace tamis::cli {
namespace {

std::vector<std::string_view> columns_of(std::string_view line) {
  std::vector<std::string_view> out;
  for (size_t at = 0; (at = line.find_first_not_of(" \t", at)) != std::string_view::npos;) {
    const size_t end = std::min(line.find_first_of(" \t", at), line.size());
    out.push_back(line.substr(at, end - at));
    at = end;
  }
  return out;
}

template <class T>
T number_of(std::string_view text, const LineReader& reader) {
  T out{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) bad_line(reader, "a number", text);
  return out;
}

void read_results(const io::JsonValue& results, SearchRun& out) {
  for (const auto& [query, hits] : results.members("search_results")) {
    auto& to = out[std::string(query)];
    for (const auto& [document, score] : hits.members("hits")) {
      to.push_back({std::string(document), score.number("score")});
    }
  }
}

}  // namespace

std::string name_of(const io::JsonValue& value, std::string_view what) {
  return value.is_number() ? std::to_string(value.integer(what)) : std::string(value.string(what));
}

Judgements read_judgements(const std::string& path) {
  Judgements out;
  for_each_line(path, [&](std::string_view line, const LineReader& reader) {
    if (line.front() == '{') {
      const auto document = io::JsonDocument::parse(line, reader.where());
      const io::JsonValue row = document.root();
      out[name_of(row.at("qid"), "qid")][name_of(row.at("docid"), "docid")] =
          row.at("relevance").integer("relevance");
      return;
    }
    const auto columns = columns_of(line);
    if (columns.size() == 3) {
      if (columns[0] == "query-id") return;  // BEIR's header
      out[std::string(columns[0])][std::string(columns[1])] =
          number_of<int64_t>(columns[2], reader);
    } else if (columns.size() == 4) {
      out[std::string(columns[0])][std::string(columns[2])] =
          number_of<int64_t>(columns[3], reader);
    } else {
      bad_line(reader, "query, document and grade (3 columns), TREC's 4, or JSON", line);
    }
  });
  return out;
}

SearchRun read_run(const std::string& path) {
  SearchRun out;
  for_each_line(path, [&](std::string_view line, const LineReader& reader) {
    if (line.front() == '{') {
      const auto document = io::JsonDocument::parse(line, reader.where());
      const io::JsonValue row = document.root();
      if (const auto results = row.find("search_results")) return read_results(*results, out);
      auto& to = out[name_of(row.at("query_id"), "query_id")];
      for (const io::JsonValue& hit : row.at("hits").elements("hits")) {
        to.push_back({name_of(hit.at("id"), "id"), hit.at("score").number("score")});
      }
      return;
    }
    const auto columns = columns_of(line);
    if (columns.size() != 6) {
      bad_line(reader, "TREC's 6 columns (query Q0 document rank score tag), or JSON", line);
    }
    out[std::string(columns[0])].push_back(
        {std::string(columns[2]), number_of<double>(columns[4], reader)});
  });
  return out;
}

void write_run(const std::string& path, const SearchRun& run, const std::string& tag) {
  Output output = Output::open(path);
  for (const auto& [query, hits] : run) {
    std::vector<RunHit> sorted = hits;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const RunHit& a, const RunHit& b) { return a.score > b.score; });
    for (size_t i = 0; i < sorted.size(); ++i) {
      output.buffer() += fmt::format("{} Q0 {} {} {} {}\n", query, sorted[i].document, i + 1,
                                     sorted[i].score, tag);
    }
    output.flush();
  }
  output.finish();
}

}  // namespace tamis::cli
