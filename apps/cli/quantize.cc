// `tamis quantize`: a model directory with int8 weights, and a report of what that costs in
// ranking.

#include "tamis/quantize.h"

#include <fmt/format.h>

#include <memory>

#include "arguments.h"
#include "commands.h"
#include "default_model.h"
#include "dto.h"
#include "lines.h"
#include "options.h"
#include "output.h"
#include "progress.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis quantize models/bge-reranker-v2-m3 models/bge-reranker-v2-m3-int8 --calibrate requests.jsonl
  tamis rerank -m models/bge-reranker-v2-m3-int8 --dtype int8 "what is a panda?" "hi"

A line of --calibrate and --evaluate is {"query": "...", "passages": ["...", ...]}, and may have
"relevance": [0, 1, ...], how relevant each passage is; then the report has nDCG@10. The directory is
a model like any other: other dtypes are made from its int8 weights.)";

struct Options {
  std::string model, out, calibrate, evaluate;
  size_t max_length = 512;
  size_t tokens = 16384;
  PlaceOptions place;
  OutputOptions output;
};

std::vector<QuantizeRequest> read_requests(const std::string& path) {
  LineReader reader = LineReader::open(path);
  std::vector<QuantizeRequest> out;
  size_t repaired = 0;
  while (const auto line = reader.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    out.push_back(parse_quantize_line(*line, reader.where(), repaired));
  }
  if (out.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected requests, one JSON object a line, got none", reader.name()));
  }
  return out;
}

std::string megabytes(size_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

void write_text(std::string& out, const QuantizeReport& r) {
  const auto line = [&](std::string_view name, const std::string& value) {
    out += fmt::format("{:<18}{}\n", name, value);
  };
  line("written", fmt::format("{}: {}, from {}", r.directory.string(), megabytes(r.bytes),
                              megabytes(r.source_bytes)));
  line("calibrated on",
       fmt::format("{} sequences of {} tokens", r.calibration_sequences, r.calibration_tokens));
  line("outlier columns", fmt::format("{} inputs of layers stay f32", r.outlier_columns));
  line("left alone", r.left_alone.empty()
                         ? "no layer"
                         : fmt::format("{} layers stay in 16 bits", r.left_alone.size()));
  for (const std::string& name : r.left_alone) line("", name);
  out += fmt::format("\nint8 beside f32, {} requests, {} pairs\n", r.requests, r.pairs);
  line("  Kendall tau", fmt::format("{:.4f}", r.kendall));
  line("  Spearman", fmt::format("{:.4f}", r.spearman));
  line("  same best", fmt::format("{:.4f}", r.top1));
  line("  top-10 overlap", fmt::format("{:.4f}", r.top10));
  line("  |logit change|", fmt::format("mean {:.4f}, at most {:.4f}", r.mean_delta, r.max_delta));
  if (r.judged > 0) {
    line("  nDCG@10", fmt::format("f32 {:.4f}, int8 {:.4f}, over {} judged requests", r.ndcg10_f32,
                                  r.ndcg10_int8, r.judged));
  }
}

int run(const Options& options) {
  const Notices notices = options.output.notices();
  Output output = Output::open(plain(options.output.path));
  QuantizeOptions how;
  how.calibration = read_requests(plain(options.calibrate));
  if (!options.evaluate.empty()) how.evaluation = read_requests(plain(options.evaluate));
  how.max_length = options.max_length;
  how.calibration_tokens = options.tokens;
  how.load.threads = static_cast<int>(options.place.threads);
  how.load.isa = options.place.isa;
  how.load.log = notices.sink();
  how.stage = [&](const std::string& stage) {
    if (!options.output.quiet) notices.say(stage);
  };
  const auto model = find_model(plain(options.model), kDefaultReranker);
  const QuantizeReport report = quantize(model, plain(options.out), how);
  if (options.output.format == "json") {
    write_quantize_report(output.buffer(), report, JsonLayout::kIndented);
    output.buffer() += '\n';
  } else {
    write_text(output.buffer(), report);
  }
  output.finish();
  return 0;
}

}  // namespace

Command add_quantize(CLI::App& root) {
  CLI::App* app = root.add_subcommand("quantize", "Write a model directory with int8 weights");
  auto options = std::make_shared<Options>();
  app->add_option("model", options->model, "model directory")
      ->type_name("MODEL")
      ->option_text("MODEL")
      ->required();
  app->add_option("out", options->out, "directory to make")
      ->type_name("OUT")
      ->option_text("OUT")
      ->required();
  app->add_option("--calibrate", options->calibrate,
                  "requests like those that the model will get; - is standard input")
      ->type_name("FILE")
      ->required()
      ->group("Input");
  app->add_option("--evaluate", options->evaluate,
                  "requests of the report (default: --calibrate's)")
      ->type_name("FILE")
      ->group("Input");
  add_count(*app, "--max-length", options->max_length, 1, "tokens of a pair (default: 512)")
      ->group("Calibration");
  add_count(*app, "--tokens", options->tokens, 1, "look at N tokens at most (default: 16384)")
      ->group("Calibration");
  add_work_options(*app, options->place);
  add_output_options(*app, options->output, {"table", "json"});
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
