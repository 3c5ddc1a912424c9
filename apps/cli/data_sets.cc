#include "data_sets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "io/json.h"
#include "judged_data.h"
#include "lines.h"
#include "tamis/error.h"

namespace tamis::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMiracl = "miracl-v1.0-", kMldr = "mldr-v1.0-",
                           kMiraclCorpus = "miracl-corpus-v1.0-";

[[noreturn]] void not_found(const fs::path& directory, std::string_view expected) {
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: expected {} in it", directory.string(), expected));
}

/// The data sets are given away compressed, and nobody should wonder why nothing is found.
void refuse_compressed(const fs::path& path) {
  const fs::path packed = path.string() + ".gz";
  std::error_code ignored;
  if (!fs::exists(packed, ignored) || fs::exists(path, ignored)) return;
  throw Error(ErrorCode::kUnimplemented, fmt::format("{}: is compressed; unpack it: gunzip -k {}",
                                                     packed.string(), packed.filename().string()));
}

std::string first_there(const fs::path& directory, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (fs::exists(directory / name)) return (directory / name).string();
  }
  for (const std::string& name : names) refuse_compressed(directory / name);
  not_found(directory, fmt::format("{}", fmt::join(names, " or ")));
}

/// The files of a directory whose names begin and end so, 2 before 10.
std::vector<fs::path> files_like(const fs::path& directory, std::string_view begin,
                                 std::string_view end) {
  std::vector<fs::path> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.size() >= begin.size() + end.size() && name.starts_with(begin) && name.ends_with(end))
      out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end(), [](const fs::path& a, const fs::path& b) {
    const std::string& x = a.native();
    const std::string& y = b.native();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return out;
}

/// Documents in one file or in many, in the first of these directories that has some.
std::vector<std::string> corpus_files(const std::vector<fs::path>& directories) {
  for (const fs::path& directory : directories) {
    if (fs::exists(directory / "corpus.jsonl")) return {(directory / "corpus.jsonl").string()};
    for (fs::path packed : files_like(directory, "docs-", ".jsonl.gz")) {
      refuse_compressed(packed.replace_extension());
    }
    std::vector<std::string> out;
    for (const fs::path& file : files_like(directory, "docs-", ".jsonl")) {
      out.push_back(file.string());
    }
    if (!out.empty()) return out;
  }
  for (const fs::path& directory : directories) refuse_compressed(directory / "corpus.jsonl");
  std::string places;
  for (size_t i = 1; i < directories.size(); ++i) places += " or in " + directories[i].string();
  throw Error(ErrorCode::kNotFound, fmt::format("{}: expected corpus.jsonl or docs-*.jsonl in it{}",
                                                directories.front().string(), places));
}

std::optional<DataSetFiles> miracl_files(const fs::path& directory, const std::string& split) {
  const std::string end = "-" + split + ".tsv";
  const auto judgements = files_like(directory / "qrels", "qrels.", end);
  if (judgements.empty()) return std::nullopt;
  const auto topics = files_like(directory / "topics", "topics.", end);
  if (topics.empty()) not_found(directory, "topics/topics.*" + end);
  DataSetFiles out;
  out.layout = DataSetFiles::Queries::kTopics;
  out.judgements = judgements.front().string();
  out.queries = topics.front().string();
  std::vector<fs::path> places = {directory};
  const fs::path whole = fs::weakly_canonical(directory);
  const std::string name = whole.filename().string();
  if (name.starts_with(kMiracl)) {
    const std::string corpus = std::string(kMiraclCorpus) + name.substr(kMiracl.size());
    places.push_back(whole.parent_path() / corpus);
    places.push_back(whole.parent_path().parent_path() / "miracl-corpus" / corpus);
  }
  out.corpus = corpus_files(places);
  return out;
}

/// Empty if nothing of this split is there. Errors: if some of it is, and some is not.
std::optional<DataSetFiles> locate(const fs::path& directory, const std::string& split) {
  DataSetFiles out;
  for (const std::string& name : {"qrels/" + split + ".tsv", split + "_qrels.jsonl"}) {
    if (!fs::exists(directory / name)) continue;
    out.judgements = (directory / name).string();
    out.queries = first_there(directory, {split + "_queries.jsonl", "queries.jsonl"});
    out.corpus = {first_there(directory, {"corpus.jsonl"})};
    return out;
  }
  if (const auto miracl = miracl_files(directory, split)) return miracl;
  if (!fs::exists(directory / (split + ".jsonl"))) return std::nullopt;
  out.layout = DataSetFiles::Queries::kWithPassages;
  out.queries = (directory / (split + ".jsonl")).string();
  out.corpus = corpus_files({directory});
  return out;
}

DataSetFiles located(const fs::path& directory, const std::string& split) {
  if (auto files = locate(directory, split)) return *files;
  refuse_compressed(directory / (split + ".jsonl"));
  not_found(directory, fmt::format("qrels/{0}.tsv or {0}_qrels.jsonl (BEIR, FlagEmbedding), "
                                   "qrels/qrels.*-{0}.tsv (MIRACL) or {0}.jsonl (MLDR)",
                                   split));
}

fs::path directory_of(const fs::path& directory, const std::string& name) {
  std::vector<std::string> tried;
  for (const std::string_view prefix : {std::string_view(), kMiracl, kMldr}) {
    tried.push_back(std::string(prefix) + name);
    if (fs::is_directory(directory / tried.back())) return directory / tried.back();
  }
  not_found(directory, fmt::format("{}", fmt::join(tried, " or ")));
}

std::string short_name(const fs::path& directory) {
  std::string name = directory.filename().string();
  for (const std::string_view prefix : {kMiracl, kMldr}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

std::vector<fs::path> directories_in(const fs::path& directory) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.is_directory()) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// ---- what is in them

void read_documents(const std::string& path, std::vector<Passage>& out) {
  for_each_line(path, [&](std::string_view line, const LineReader& reader) {
    const auto document = io::JsonDocument::parse(line, reader.where());
    const io::JsonValue row = document.root();
    auto id = row.find("_id");
    if (!id) id = row.find("id");
    if (!id) id = row.find("docid");
    if (!id) bad_line(reader, "a document's _id, id or docid", line);
    const std::string title = row.string_or("title", "");
    const std::string text(row.at("text").string("text"));
    out.push_back({name_of(*id, "id"), title.empty()  ? text
                                       : text.empty() ? title
                                                      : title + " " + text});
  });
}

void add_query(JudgedData& data, std::string id, std::string_view text) {
  if (data.judgements.contains(id)) data.queries.push_back({std::move(id), std::string(text)});
}

void read_query_lines(const std::string& path, JudgedData& data) {
  for_each_line(path, [&](std::string_view line, const LineReader& reader) {
    const auto document = io::JsonDocument::parse(line, reader.where());
    const io::JsonValue row = document.root();
    auto id = row.find("_id");
    if (!id) id = row.find("id");
    if (!id) bad_line(reader, "a query's _id or id", line);
    add_query(data, name_of(*id, "id"), row.at("text").string("text"));
  });
}

void read_topics(const std::string& path, JudgedData& data) {
  for_each_line(path, [&](std::string_view line, const LineReader& reader) {
    const size_t tab = line.find('\t');
    if (tab == 0 || tab == std::string_view::npos || line.find('\t', tab + 1) != line.npos) {
      bad_line(reader, "a query's id, a tab and its text", line);
    }
    add_query(data, std::string(line.substr(0, tab)), line.substr(tab + 1));
  });
}

/// MLDR's queries bring their judgements: what is positive has the grade 1, what is negative 0.
void read_queries_with_passages(const std::string& path, JudgedData& data) {
  for_each_line(path, [&](std::string_view line, const LineReader& reader) {
    const auto document = io::JsonDocument::parse(line, reader.where());
    const io::JsonValue row = document.root();
    const std::string id = name_of(row.at("query_id"), "query_id");
    auto& judged = data.judgements[id];
    const auto add = [&](const io::JsonValue& passages, std::string_view field, int64_t grade) {
      for (const io::JsonValue& passage : passages.elements(field)) {
        judged[name_of(passage.at("docid"), "docid")] = grade;
      }
    };
    add(row.at("positive_passages"), "positive_passages", 1);
    if (const auto negative = row.find("negative_passages")) {
      add(*negative, "negative_passages", 0);
    }
    add_query(data, id, row.at("query").string("query"));
  });
}

}  // namespace

std::vector<DataSetFiles> find_data_sets(const std::string& directory,
                                         const std::vector<std::string>& names,
                                         const std::vector<std::string>& splits) {
  if (!fs::is_directory(directory)) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: no such directory", directory));
  }
  std::vector<DataSetFiles> out;
  const auto add = [&](DataSetFiles files, const std::string& name, const std::string& split) {
    files.name = name.empty() ? split : name + "-" + split;
    out.push_back(std::move(files));
  };
  for (const std::string& name : names) {
    const fs::path place = directory_of(directory, name);
    for (const std::string& split : splits) add(located(place, split), name, split);
  }
  if (!names.empty()) return out;
  const bool itself = std::any_of(splits.begin(), splits.end(), [&](const std::string& split) {
    return locate(directory, split).has_value();
  });
  if (!itself) {
    for (const fs::path& place : directories_in(directory)) {
      for (const std::string& split : splits) {
        if (auto files = locate(place, split)) add(*files, short_name(place), split);
      }
    }
  }
  if (!out.empty()) return out;
  for (const std::string& split : splits) {
    for (const fs::path& place : directories_in(directory)) {
      if (!itself) refuse_compressed(place / (split + ".jsonl"));
    }
    add(located(directory, split), "", split);
  }
  return out;
}

JudgedData read_data_set(const DataSetFiles& files) {
  JudgedData out;
  if (!files.judgements.empty()) out.judgements = read_judgements(files.judgements);
  switch (files.layout) {
    case DataSetFiles::Queries::kJsonLines:
      read_query_lines(files.queries, out);
      break;
    case DataSetFiles::Queries::kTopics:
      read_topics(files.queries, out);
      break;
    case DataSetFiles::Queries::kWithPassages:
      read_queries_with_passages(files.queries, out);
      break;
  }
  for (const std::string& path : files.corpus) read_documents(path, out.corpus);
  return out;
}

}  // namespace tamis::cli
