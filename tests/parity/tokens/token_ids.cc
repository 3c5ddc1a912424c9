// Ids for texts, one JSON object a line: {"text": ...} or {"text": ..., "pair": ...} gives
// {"ids": [...]}. The argument is a tokenizer.json, a .spm file, or a model directory.
// With --speed FILE it prints load time and speed over the lines of FILE instead (CPU time).

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "io/file_map.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace {

using tamis::text::Tokenizer;

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

std::shared_ptr<const Tokenizer> open(const std::string& path) {
  if (path.ends_with(".json")) {
    return Tokenizer::from_json(tamis::io::FileMap::open(path).text(), path);
  }
  if (path.ends_with(".spm")) {
    return Tokenizer::from_sentencepiece(tamis::io::FileMap::open(path).text(), path);
  }
  return Tokenizer::load(path);
}

void answer(const Tokenizer& tokenizer, const std::string& line) {
  const auto document = tamis::io::JsonDocument::parse(line, "input");
  std::vector<int32_t> a, b;
  tokenizer.encode(document.root().at("text").string("text"), a);
  const auto pair = document.root().find("pair");
  if (pair) tokenizer.encode(pair->string("pair"), b);
  const auto ids = pair ? tokenizer.build_pair(a, b).ids : tokenizer.build_single(a).ids;
  fmt::print("{{\"ids\":[{}]}}\n", fmt::join(ids, ","));
}

/// CPU seconds of one thread, best of five: other work on the machine only ever adds.
void measure(const std::string& path, const char* texts) {
  double load = 1e9;
  std::shared_ptr<const Tokenizer> tokenizer;
  for (int i = 0; i < 5; ++i) {
    const double start = cpu_seconds();
    tokenizer = open(path);
    load = std::min(load, cpu_seconds() - start);
  }
  std::vector<std::string> lines;
  size_t bytes = 0;
  std::ifstream file(texts);
  for (std::string line; std::getline(file, line); bytes += line.size()) lines.push_back(line);
  double best = 1e9;
  size_t tokens = 0;
  std::vector<int32_t> ids;
  for (int i = 0; i < 5; ++i) {
    const double start = cpu_seconds();
    tokens = 0;
    for (const auto& line : lines) {
      ids.clear();
      tokenizer->encode(line, ids);
      tokens += ids.size();
    }
    best = std::min(best, cpu_seconds() - start);
  }
  fmt::print("load {:.3f} s, {} tokens, {:.2f} Mtok/s, {:.1f} MB/s\n", load, tokens,
             static_cast<double>(tokens) / best / 1e6, static_cast<double>(bytes) / best / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::string_view(argv[1]) == "--speed") {
      measure(argv[3], argv[2]);
      return 0;
    }
    if (argc != 2) {
      fmt::print(stderr, "usage: token_ids [--speed FILE] TOKENIZER\n");
      return 2;
    }
    const auto tokenizer = open(argv[1]);
    for (std::string line; std::getline(std::cin, line);) answer(*tokenizer, line);
  } catch (const std::exception& error) {
    fmt::print(stderr, "token_ids: {}\n", error.what());
    return 1;
  }
  return 0;
}
