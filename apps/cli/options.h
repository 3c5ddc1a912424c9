#pragma once

// The options that several commands share.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "jsonl.h"
#include "notices.h"
#include "place_options.h"
#include "tamis/types.h"

namespace tamis::cli {

struct ModelOptions {
  std::string directory;
  std::string pooling;
  PlaceOptions place;
};

struct OutputOptions {
  std::string path;
  std::string format;
  bool quiet = false;
  bool verbose = false;
  bool no_progress = false;
  CLI::Option* format_option = nullptr;

  Notices notices() const;
};

/// --input and what goes with it.
struct InputOptions {
  std::string path;
  bool keep_going = false;
};

struct BenchmarkOptions {
  bool timings = false;
  size_t repeat = 0;  ///< 0: not asked for

  size_t runs() const { return repeat == 0 ? 1 : repeat; }
};

void add_model_option(CLI::App& app, ModelOptions& options);
/// --format (the first of `formats` is marked as the default), --output, --quiet, --verbose.
void add_output_options(CLI::App& app, OutputOptions& options,
                        const std::vector<std::string>& formats);
void add_progress_option(CLI::App& app, OutputOptions& options);
void add_input_option(CLI::App& app, InputOptions& options, const std::string& description);
void add_benchmark_options(CLI::App& app, BenchmarkOptions& options);

/// A whole number; at least `minimum`.
CLI::Option* add_count(CLI::App& app, const std::string& name, size_t& value, size_t minimum,
                       const std::string& description);
/// One of a few words.
CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& value,
                        const std::vector<std::string>& words, const std::string& description);

/// Two spellings of an option, FlagEmbedding's and ours: "--max_steps" is also "--max-steps".
std::string both(const std::string& name);
/// Options that FlagEmbedding's scripts have and this has no use for: not in the help; taken, and
/// put into `ignored`, which say_ignored tells.
void add_ignored_options(CLI::App& app, const std::vector<std::string>& names,
                         std::vector<std::string>& ignored);
void say_ignored(const Notices& notices, const std::vector<std::string>& ignored);

/// Where a command with texts as arguments reads lines from instead: --input, or standard input
/// where neither is given; empty if there are texts. Errors: UsageError (both; or a terminal).
std::string lines_input(const std::vector<std::string>& texts, const InputOptions& options);
/// Arguments as if they had been lines.
std::vector<TextLine> text_lines(const std::vector<std::string>& texts);

/// With devices of this process. batch_tokens: what --batch-tokens says; 0 = nothing.
/// Errors: invalid_argument (--sim).
LoadOptions load_options(const ModelOptions& options, size_t batch_tokens, const Notices& notices);
Format format_of(const std::string& name);

/// What --max-length became, said once if it is less than what was asked for.
void say_if_clamped(const Notices& notices, size_t asked, size_t effective);

}  // namespace tamis::cli
