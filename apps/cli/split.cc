// `tamis split`: training data by length [FlagEmbedding/scripts/split_data_by_length.py].

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "lines.h"
#include "options.h"
#include "output.h"
#include "tamis/tokenizer.h"
#include "training_lines.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Example:
  tamis split --model bge-m3 data.jsonl parts/
  ls parts       data_len-0-500.jsonl  data_len-500-1000.jsonl  data_len-7000-inf.jsonl

The length of a line is that of its longest text, in tokens, special ones included.)";

struct Options {
  std::string model, in, out;
  std::vector<size_t> bounds = {0, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000};
  OutputOptions output;
};

size_t length_of(const TrainingLine& line, const Tokenizer& tokenizer) {
  size_t longest = tokenizer.encode(line.query).ids.size();
  for (const auto* texts : {&line.positives, &line.negatives}) {
    for (const std::string& text : *texts) {
      longest = std::max(longest, tokenizer.encode(text).ids.size());
    }
  }
  return longest;
}

int run(const Options& options) {
  namespace fs = std::filesystem;
  if (!std::is_sorted(options.bounds.begin(), options.bounds.end()) ||
      options.bounds.front() != 0) {
    throw UsageError("--bounds: expected ascending numbers from 0", "as in --bounds 0 512 1024");
  }
  const Notices notices = options.output.notices();
  LineReader reader = LineReader::open(plain(options.in));
  const Tokenizer tokenizer = Tokenizer::load(find_model(plain(options.model), kDefaultReranker));
  const fs::path out = plain(options.out);
  std::error_code error;
  fs::create_directories(out, error);
  if (error) {
    throw Error(ErrorCode::kUnavailable, fmt::format("{}: {}", out.string(), error.message()));
  }
  const std::string stem = fs::path(plain(options.in)).stem().string();
  std::map<size_t, std::unique_ptr<Output>> parts;
  std::map<size_t, size_t> counts;
  const auto name_of = [&](size_t part) {
    const std::string end =
        part + 1 < options.bounds.size() ? std::to_string(options.bounds[part + 1]) : "inf";
    return (out / fmt::format("{}_len-{}-{}.jsonl", stem, options.bounds[part], end)).string();
  };
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    const size_t n = length_of(parse_training_line(*line, reader.where(), false), tokenizer);
    const auto above = std::upper_bound(options.bounds.begin(), options.bounds.end(), n);
    const auto part = static_cast<size_t>(above - options.bounds.begin()) - 1;
    auto& file = parts[part];
    if (!file) file = std::make_unique<Output>(Output::open(name_of(part)));
    file->buffer() += std::string(*line) + "\n";
    if (file->buffer().size() > (size_t{1} << 20)) file->flush();
    ++counts[part];
  }
  for (auto& [part, file] : parts) {
    file->finish();
    notices.say(fmt::format("{}: {} lines", name_of(part), grouped(counts[part])));
  }
  return 0;
}

}  // namespace

Command add_split(CLI::App& root) {
  CLI::App* app = root.add_subcommand("split", "Split training data by length");
  auto o = std::make_shared<Options>();
  app->add_option("in", o->in, "training data")->type_name("IN")->option_text("IN")->required();
  app->add_option("out", o->out, "folder of the parts")
      ->type_name("OUT")
      ->option_text("OUT")
      ->required();
  app->add_option("-m,--model", o->model, "whose tokenizer counts")->type_name("DIR");
  app->add_option("--bounds", o->bounds, "default: 0 500 1000 2000 ... 7000")->type_name("N...");
  app->add_flag("-q,--quiet", o->output.quiet, "no notices")->group("Output");
  app->footer(kFooter);
  return {app, [o](auto) { return run(*o); }};
}

}  // namespace tamis::cli
