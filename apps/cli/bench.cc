// `tamis bench`: how fast a model is on this machine, and what that is enough for.

#include "tamis/bench.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "arguments.h"
#include "base/byte_size.h"
#include "commands.h"
#include "default_model.h"
#include "display_width.h"
#include "dto.h"
#include "lines.h"
#include "options.h"
#include "output.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis bench
  tamis bench -m models/bge-reranker-v2-m3 --dtype int8 --threads 1,2,4 --lengths 96,512
  tamis bench --input requests.jsonl --format json

Texts are made up unless --input gives some; a line of it is {"query": "...", "passages": [...]}.
"1 x 64" is one pair of 64 tokens: the latency of a small request. The peak is what the same threads
multiply from registers (f32) or from L1 (int8), measured just before.)";

struct Options {
  ModelOptions model;
  std::vector<std::string> dtypes = {"f32", "int8"};
  std::vector<size_t> threads, lengths = {64, 512};
  std::string input, cache;
  size_t max_length = 512;
  double seconds = 1;
  OutputOptions output;
};

std::vector<BenchRequest> read_requests(const std::string& path) {
  LineReader reader = LineReader::open(path);
  std::vector<BenchRequest> out;
  size_t repaired = 0;
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    RerankLine parsed = parse_rerank_line(*line, reader.where(), repaired);
    out.push_back({std::move(parsed.query), std::move(parsed.passages)});
  }
  if (out.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected requests, one JSON object a line, got none", reader.name()));
  }
  return out;
}

void write_row(std::string& out, const std::vector<std::string>& cells) {
  constexpr size_t kWidths[] = {5, 7, 10, 11, 11, 11, 11, 8};
  for (size_t i = 0; i < cells.size(); ++i) {
    out += i < 3 ? pad_right(cells[i], kWidths[i]) : pad_left(cells[i], kWidths[i]);
    out += i + 1 < cells.size() ? "  " : "\n";
  }
}

/// The best rate for each amount of work of several sequences, as an answer.
void write_sizing(std::string& out, const BenchReport& report, std::string_view things) {
  std::vector<const BenchRow*> best;
  for (const BenchRow& row : report.rows) {
    if (row.sequences < 2) continue;
    const auto same = std::find_if(best.begin(), best.end(),
                                   [&](const BenchRow* b) { return b->work == row.work; });
    if (same == best.end()) {
      best.push_back(&row);
    } else if (row.tokens_per_s > (*same)->tokens_per_s) {
      *same = &row;
    }
  }
  if (best.empty()) return;
  out += "\nThis machine at its best:\n";
  for (const BenchRow* row : best) {
    const BenchPlace& place = report.places[row->place];
    out +=
        fmt::format("  {:.4g} {} a second of {} tokens on average, 100 in {:.3g} s ({}, {} {})\n",
                    row->sequences_per_s, things,
                    (row->tokens + row->sequences / 2) / row->sequences, 100 / row->sequences_per_s,
                    place.dtype, place.threads, place.threads == 1 ? "thread" : "threads");
  }
}

void write_text(std::string& out, const BenchReport& report) {
  const bool pairs = report.model.kind == ModelKind::kCrossEncoder;
  const std::string_view things = pairs ? "pairs" : "texts";
  out += fmt::format(
      "{}: {:.1f} million parameters\n{}, {} usable cores, {}\n\n", report.model.directory.string(),
      static_cast<double>(report.model.parameters) / 1e6, report.cpu, report.cores, report.isa);
  write_row(out, {"dtype", "threads", "work", "median ms", "worst ms", fmt::format("{}/s", things),
                  "tokens/s", "of peak"});
  for (const BenchRow& row : report.rows) {
    const BenchPlace& place = report.places[row.place];
    write_row(out,
              {place.dtype, fmt::format("{}", place.threads), row.work,
               fmt::format("{:.1f}", row.median_ms), fmt::format("{:.1f}", row.worst_ms),
               fmt::format("{:.1f}", row.sequences_per_s), fmt::format("{:.0f}", row.tokens_per_s),
               fmt::format("{:.0f} %", 100 * row.share_of_peak)});
  }
  out += "\n";
  for (const BenchPlace& place : report.places) {
    out += fmt::format("{}, {} {}: placed in {:.2f} s, weights {}, workspace {}, peak {:.0f} {}\n",
                       place.dtype, place.threads, place.threads == 1 ? "thread" : "threads",
                       place.load_ms / 1000, format_bytes(place.weight_bytes),
                       format_bytes(place.workspace_bytes), place.peak / 1e9,
                       place.dtype == "int8" ? "GOP/s" : "GFLOP/s");
  }
  write_sizing(out, report, things);
}

int run(const Options& options) {
  const Notices notices = options.output.notices();
  Output output = Output::open(plain(options.output.path));
  BenchOptions how;
  how.dtypes = options.dtypes;
  how.threads.assign(options.threads.begin(), options.threads.end());
  how.lengths = options.lengths;
  how.max_length = options.max_length;
  how.seconds = options.seconds;
  how.load = load_options(options.model, 0, notices);
  if (!options.input.empty()) how.requests = read_requests(plain(options.input));
  how.stage = [&](const std::string& what) { notices.say(what); };
  const BenchReport report =
      bench(find_model(plain(options.model.directory), kDefaultReranker), how);
  if (options.output.format == "json") {
    write_bench(output.buffer(), report, JsonLayout::kIndented);
    output.buffer() += '\n';
  } else {
    write_text(output.buffer(), report);
  }
  output.finish();
  return 0;
}

}  // namespace

Command add_bench(CLI::App& root) {
  CLI::App* app = root.add_subcommand("bench", "Measure a model on this machine's CPU");
  auto options = std::make_shared<Options>();
  add_model_option(*app, options->model);
  app->add_option("--dtype", options->dtypes, "several: f32,int8 (the default)")
      ->delimiter(',')
      ->check(CLI::IsMember({"f32", "f16", "bf16", "int8"}))
      ->type_name("LIST")
      ->group("What is measured");
  app->add_option("--threads", options->threads, "several: 1,2 (default: 1, and all usable cores)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->type_name("LIST")
      ->group("What is measured");
  app->add_option("--lengths", options->lengths, "tokens of a sequence, several: 64,512 (default)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("LIST")
      ->group("What is measured");
  app->add_option("-i,--input", options->input, "requests to measure with; - is standard input")
      ->type_name("FILE")
      ->group("What is measured");
  add_count(*app, "--max-length", options->max_length, 1,
            "tokens of a pair of --input (default: 512)")
      ->group("What is measured");
  app->add_option("--seconds", options->seconds, "at least so long for each row (default: 1)")
      ->check(CLI::Range(0.0, 3600.0))
      ->type_name("S")
      ->group("What is measured");
  app->add_option("--isa", options->model.place.isa,
                  "instruction set; default: the best here (tamis inspect lists them)")
      ->type_name("NAME")
      ->group("What is measured");
  add_output_options(*app, options->output, {"table", "json"});
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
