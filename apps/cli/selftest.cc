// tamis selftest

#include "tamis/selftest.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "dto.h"
#include "options.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis selftest --device cuda:0
  tamis selftest --device cuda:0 --model models/bge-reranker-v2-m3 --format json > report.json

Every operation is compared with a plain version of itself on the cpu, run side by side in search of
races, and timed; with a model its scores are compared with the cpu's. The exit status is 1 if
anything differs by more than it may. Attach the JSON to a bug report.)";

struct Options {
  PlaceOptions place;
  OutputOptions output;
  std::string model;
  size_t rounds = 20;
  bool no_times = false;
};

std::string line_of(const SelftestCheck& check) {
  const std::string mark = check.passed ? "ok    " : "WRONG ";
  if (!check.problem.empty()) return fmt::format("{}{}: {}\n", mark, check.name, check.problem);
  return fmt::format("{}{}: differs by {:.2g}, may by {:.2g}\n", mark, check.name, check.error,
                     check.tolerance);
}

void write_text(std::string& out, const SelftestReport& report, bool verbose) {
  size_t wrong = 0;
  out += fmt::format("{}: {}\n", report.device, report.description);
  for (const SelftestCheck& check : report.checks) {
    wrong += !check.passed;
    if (verbose || !check.passed) out += line_of(check);
  }
  out +=
      fmt::format("{} of {} checks passed\n", report.checks.size() - wrong, report.checks.size());
  if (!report.timings.empty()) out += "\nMeasured here, now:\n";
  for (const SelftestTiming& timing : report.timings) {
    out += fmt::format("  {:52} {:9.3f} ms {:10.1f} GFLOP/s\n", timing.name, timing.milliseconds,
                       timing.gflops);
  }
  if (!report.advice.empty()) {
    out += fmt::format("\nUse this device with: --cuda {}\n", report.advice);
  }
}

int run(const Options& options) {
  Output output = Output::open(plain(options.output.path));
  const Notices notices = options.output.notices();
  SelftestOptions test;
  test.device = plain(options.place.device);
  test.devices = devices_options(options.place);
  test.model = plain(options.model);
  test.rounds = static_cast<int>(std::min<size_t>(options.rounds, 100'000));
  test.times = !options.no_times;
  test.progress = [&](std::string_view part) { notices.detail(fmt::format("testing {}", part)); };
  if (options.model.empty()) {
    notices.say("no model given, so scores are not compared: tamis selftest --model DIR");
  }
  const SelftestReport report = selftest(test);
  if (options.output.format == "json") {
    write_selftest(output.buffer(), report, JsonLayout::kIndented);
    output.buffer() += '\n';
  } else {
    write_text(output.buffer(), report, options.output.verbose);
  }
  output.finish();
  return report.passed() ? 0 : 1;
}

}  // namespace

Command add_selftest(CLI::App& root) {
  CLI::App* app = root.add_subcommand("selftest", "Compare a device with the specification");
  auto options = std::make_shared<Options>();
  options->place.device = "cuda:0";
  app->add_option("--device", options->place.device, "the one to test (default: cuda:0)")
      ->type_name("NAME")
      ->group("Place");
  app->add_option("-m,--model", options->model, "model directory whose scores are compared")
      ->type_name("DIR");
  add_count(*app, "--rounds", options->rounds, 1, "of the search for races (default: 20)");
  app->add_flag("--no-times", options->no_times, "do not measure speed");
  add_sim_option(*app, options->place);
  add_cuda_options(*app, options->place);
  add_output_options(*app, options->output, {"text", "json"});
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
