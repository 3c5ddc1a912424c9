// tamis doctor

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "arguments.h"
#include "commands.h"
#include "display_width.h"
#include "options.h"
#include "progress.h"
#include "tamis/doctor.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis doctor
  tamis doctor models/bge-reranker-v2-m3
  tamis doctor models/bge-m3 --device cuda:1 --memory-limit 2GB
  tamis doctor --format json | jq '.findings[] | select(.severity != "ok")'

Give it the options of the run that disappoints. With a model its memory plan is made, it is loaded
as asked, and a few batches are timed. The exit status is 0 also when there are findings.)";

constexpr size_t kTextColumns = 9;  // where the text of a finding begins

struct Options {
  ModelOptions model;
  OutputOptions output;
  std::string directory;  // the positional form of --model
  size_t batch_tokens = 0;
  size_t max_length = 512;
  size_t seconds = 10;
};

std::optional<std::string> setting(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

const char* colour_of(Severity severity) {
  switch (severity) {
    case Severity::kProblem:
      return "\x1b[1;31m";
    case Severity::kWarning:
      return "\x1b[1;33m";
    case Severity::kInfo:
      return "\x1b[1;36m";
    default:
      return "\x1b[32m";
  }
}

// Over as many lines as it needs, the later ones indented; columns: 0 = one line.
std::string wrapped(std::string_view text, size_t indent, size_t columns) {
  const bool narrow = columns < indent + 30;  // or no terminal
  const auto lines = wrap_to_columns(text, narrow ? 0 : columns - indent);
  return fmt::format("{}", fmt::join(lines, "\n" + std::string(indent, ' ')));
}

void write_finding(std::string& out, const Finding& finding, size_t columns, bool decorate) {
  const std::string mark = pad_right(std::string(name_of(finding.severity)), kTextColumns);
  out += decorate ? colour_of(finding.severity) + mark + "\x1b[0m" : mark;
  const std::string indent(kTextColumns, ' ');
  if (finding.severity == Severity::kOk) {
    out +=
        wrapped(fmt::format("{}: {}", finding.title, finding.what), kTextColumns, columns) + "\n";
    return;
  }
  out += wrapped(finding.title, kTextColumns, columns) + "\n";
  if (!finding.what.empty()) out += indent + wrapped(finding.what, kTextColumns, columns) + "\n";
  if (!finding.fix.empty()) {
    out += indent + wrapped("→ " + finding.fix, kTextColumns + 2, columns) + "\n";
  }
}

void write_text(std::string& out, const DoctorReport& report, size_t columns, bool decorate) {
  for (const Finding& finding : report.findings) write_finding(out, finding, columns, decorate);
  const auto count = [&](Severity severity, std::string_view one, std::string_view many) {
    const auto n = std::count_if(report.findings.begin(), report.findings.end(),
                                 [&](const Finding& f) { return f.severity == severity; });
    return n == 0 ? std::string() : fmt::format("{} {}, ", n, n == 1 ? one : many);
  };
  std::string sum = count(Severity::kProblem, "problem", "problems") +
                    count(Severity::kWarning, "warning", "warnings") +
                    count(Severity::kInfo, "remark", "remarks") +
                    count(Severity::kOk, "all right", "all right");
  if (sum.size() > 2) sum.resize(sum.size() - 2);
  out += fmt::format("\n{}\n", sum);
}

int run(const Options& options) {
  const Notices notices = options.output.notices();
  if (!options.directory.empty() && !options.model.directory.empty()) {
    throw UsageError("the model is given as an argument and by --model", "give one of them");
  }
  Output output = Output::open(plain(options.output.path));
  DoctorOptions doctor;
  doctor.model = plain(options.directory.empty() ? options.model.directory : options.directory);
  // What the library says on the way is a finding as well; said twice only to those who want it.
  doctor.load = load_options(options.model, options.batch_tokens,
                             options.output.verbose ? notices : Notices(Notices::Level::kQuiet));
  doctor.max_length = options.max_length;
  doctor.limit_ms = static_cast<int>(std::min<size_t>(options.seconds, 100'000) * 1000);
  doctor.cuda_visible_devices = setting("CUDA_VISIBLE_DEVICES");
  doctor.omp_num_threads = setting("OMP_NUM_THREADS");
  if (doctor.model.empty()) {
    notices.say(
        "no model given, so neither its memory plan nor its speed is examined: "
        "tamis doctor DIR");
  }
  const DoctorReport report = examine(doctor);
  if (options.output.format == "json") {
    write_report(output.buffer(), report, JsonLayout::kIndented);
    output.buffer() += '\n';
  } else {
    const int descriptor = output.descriptor();
    write_text(output.buffer(), report, output.is_terminal() ? terminal_columns(descriptor) : 0,
               may_decorate(descriptor));
  }
  output.finish();
  return 0;
}

}  // namespace

Command add_doctor(CLI::App& root) {
  CLI::App* app = root.add_subcommand("doctor", "Say why it is slow, misplaced or out of memory");
  auto options = std::make_shared<Options>();
  app->add_option("directory", options->directory, "model directory; see --model")
      ->type_name("DIR")
      ->option_text("[DIR]");
  add_count(*app, "--batch-tokens", options->batch_tokens, 1, "as the run has it");
  add_count(*app, "--max-length", options->max_length, 1, "as the run has it (default: 512)");
  add_count(*app, "--seconds", options->seconds, 0,
            "begin no measurement after N seconds (default: 10)");
  app->add_option("-m,--model", options->model.directory, "model directory to examine")
      ->type_name("DIR")
      ->group("Model");
  add_place_options(*app, options->model.place);
  add_output_options(*app, options->output, {"table", "json"});
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
