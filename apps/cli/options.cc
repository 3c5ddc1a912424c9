#include "options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "arguments.h"

namespace tamis::cli {
namespace {

CLI::Validator whole_number(size_t minimum) {
  return CLI::Validator(
      [minimum](std::string& text) {
        size_t value = 0;
        const char* end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        if (error == std::errc() && stop == end && value >= minimum) return std::string();
        return fmt::format("expected a whole number{}, got '{}'",
                           minimum == 0 ? "" : fmt::format(" of at least {}", minimum),
                           plain(text));
      },
      "");
}

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

}  // namespace

Notices OutputOptions::notices() const {
  if (quiet) return Notices(Notices::Level::kQuiet);
  return Notices(verbose ? Notices::Level::kVerbose : Notices::Level::kNormal);
}

CLI::Option* add_count(CLI::App& app, const std::string& name, size_t& value, size_t minimum,
                       const std::string& description) {
  return app.add_option(name, value, description)
      ->check(whole_number(minimum))
      ->type_name("N")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& value,
                        const std::vector<std::string>& words, const std::string& description) {
  const CLI::Validator one_of(
      [words](std::string& text) {
        if (std::find(words.begin(), words.end(), text) != words.end()) return std::string();
        return fmt::format("expected {}, got '{}'", joined(words, " or "), plain(text));
      },
      "");
  // The words are the type's name: help shows them, and shell completion offers them.
  return app.add_option(name, value, description)->check(one_of)->type_name(joined(words, "|"));
}

void add_model_option(CLI::App& app, ModelOptions& options) {
  app.add_option("-m,--model", options.directory,
                 "model directory (default: $TAMIS_MODEL, or what ./run model made)")
      ->type_name("DIR")
      ->group("Model");
}

void add_output_options(CLI::App& app, OutputOptions& options,
                        const std::vector<std::string>& formats) {
  options.format = formats.front();
  options.format_option =
      add_choice(app, "--format", options.format, formats, "default: " + formats.front())
          ->group("Output");
  app.add_option("-o,--output", options.path,
                 "FILE appears when it is complete (default: standard output)")
      ->type_name("FILE")
      ->group("Output");
  app.add_flag("-q,--quiet", options.quiet, "no notices and no progress bar, only errors")
      ->group("Output");
  app.add_flag("-v,--verbose", options.verbose, "say more about what is loaded")->group("Output");
}

void add_progress_option(CLI::App& app, OutputOptions& options) {
  app.add_flag("--no-progress", options.no_progress, "no progress bar (nor with NO_COLOR set)")
      ->group("Output");
}

void add_input_option(CLI::App& app, InputOptions& options, const std::string& description) {
  app.add_option("-i,--input", options.path, description)->type_name("FILE")->group("Input");
  app.add_flag("--keep-going", options.keep_going,
               "write {\"error\":...} in the place of a bad line and go on")
      ->group("Input");
}

void add_benchmark_options(CLI::App& app, BenchmarkOptions& options) {
  app.add_flag("--timings", options.timings, "one JSON line on standard error at the end")
      ->group("Benchmark options");
  add_count(app, "--repeat", options.repeat, 1,
            "run N times on all of the input at once; results are written once")
      ->group("Benchmark options");
}

std::string both(const std::string& name) {
  std::string dashes = name;
  std::replace(dashes.begin(), dashes.end(), '_', '-');
  return dashes == name ? "--" + name : "--" + name + ",--" + dashes;
}

void add_ignored_options(CLI::App& app, const std::vector<std::string>& names,
                         std::vector<std::string>& ignored) {
  for (const std::string& name : names) {
    app.add_option_function<std::string>(
           both(name), [&ignored, name](const std::string&) { ignored.push_back(name); }, "")
        ->expected(0, 1)
        ->default_str("true")
        ->group("");
  }
}

void say_ignored(const Notices& notices, const std::vector<std::string>& ignored) {
  if (ignored.empty()) return;
  notices.say(fmt::format("has no use for, and goes on without: {}", fmt::join(ignored, ", ")));
}

std::string lines_input(const std::vector<std::string>& texts, const InputOptions& options) {
  if (!options.path.empty()) {
    if (texts.empty()) return plain(options.path);
    throw UsageError("texts are given as arguments and by --input", "give one of them");
  }
  if (!texts.empty()) return {};
  if (::isatty(STDIN_FILENO) != 1) return "-";
  throw UsageError("no texts given", "give them as arguments or by --input");
}

std::vector<TextLine> text_lines(const std::vector<std::string>& texts) {
  std::vector<TextLine> out;
  for (const auto& text : texts) out.push_back({plain(text), std::nullopt});
  return out;
}

LoadOptions load_options(const ModelOptions& options, size_t batch_tokens, const Notices& notices) {
  LoadOptions out = load_options(options.place, notices);
  out.batch_tokens = batch_tokens;
  out.pooling = parse_pooling(options.pooling);
  return out;
}

Format format_of(const std::string& name) {
  if (name == "json") return Format::kJson;
  if (name == "npy") return Format::kNpy;
  return name == "table" ? Format::kTable : Format::kJsonLines;
}

void say_if_clamped(const Notices& notices, size_t asked, size_t effective) {
  if (effective >= asked) return;
  notices.say(
      fmt::format("--max-length {} is more than this model allows; {} is used", asked, effective));
}

}  // namespace tamis::cli
