// The tool as a whole: its commands, its help, and the one place where errors become words and exit
// statuses.
//
// Exit statuses: 0 all is well; else that of the error's code in tamis/error.h, among them 64 wrong
// usage, 65 damaged or unreadable input, 66 something is missing, 70 a defect of Tamis, 73 disk or
// memory full, 75 not available now. Ctrl-C ends by SIGINT (130 in a shell). When the reader of
// standard output goes away the tool ends by SIGPIPE (141), silently, as cat and grep do.

#include "program.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <new>
#include <vector>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "tamis/types.h"

namespace tamis::cli {
namespace {

constexpr const char* kDescription =
    "Rerank and embed texts with models of the FlagEmbedding family";
constexpr const char* kFooter = R"(Examples:
  tamis rerank "what is a panda?" "hi" "The giant panda is a bear of China."
  tamis rerank --input requests.jsonl --format jsonl > results.jsonl
  tamis inspect models/bge-reranker-v2-m3
  tamis devices --watch
  tamis doctor --model models/bge-reranker-v2-m3

'tamis COMMAND --help' says more about a command.)";

/// "-m,--max_steps": without names that another one is but for - and _, and without what a flag
/// stands for.
std::string names_of(const CLI::Option* option) {
  std::string out;
  const auto add = [&](const std::string& name) { out += (out.empty() ? "" : ",") + name; };
  for (const std::string& name : option->get_snames()) add("-" + name);
  const std::vector<std::string>& names = option->get_lnames();
  for (const std::string& name : names) {
    const bool twin = std::any_of(names.begin(), names.end(), [&](std::string other) {
      if (other == name) return false;
      std::replace(other.begin(), other.end(), '_', '-');
      return other == name;
    });
    if (!twin) add("--" + name);
  }
  return out;
}

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(34);
    label("Positionals", "Arguments");
  }

  // CLI11 leaves one blank line too many between groups, and none before the usage.
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
    for (size_t at; (at = text.find("\n\n\n")) != std::string::npos;) text.erase(at, 1);
    return text;
  }

  std::string make_description(const CLI::App* app) const override {
    return app->get_description() + ".\n\n";
  }

  std::string make_usage(const CLI::App* app, std::string) const override {
    std::string names;
    for (const CLI::App* at = app; at->get_parent(); at = at->get_parent()) {
      names = " " + at->get_name() + names;
    }
    std::string line = "Usage: tamis" + names + " [OPTIONS]";
    for (const CLI::Option* option : app->get_options()) {
      if (!option->get_positional()) continue;
      const std::string& text = option->get_option_text();
      line += " " + (text.empty() ? option->get_type_name() : text);
    }
    return line + (app->get_subcommands({}).empty() ? "\n" : " COMMAND\n");
  }

  // Names of types without CLI11's defaults and counts, which the descriptions tell in words.
  std::string make_option_opts(const CLI::Option* option) const override {
    if (!option->get_option_text().empty() || option->get_type_size() == 0) return {};
    return " " + option->get_type_name();
  }
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    if (!positional) return names_of(option);
    const std::string& text = option->get_option_text();
    return text.empty() ? option->get_name(true, false) : text;
  }
};

void write_to_stdout(const std::string& text) {
  Output output = Output::open("-");
  output.buffer() = text;
  output.finish();
}

std::vector<Command> build(CLI::App& root) {
  root.formatter(std::make_shared<HelpFormatter>());
  root.footer(kFooter);
  root.set_help_flag("-h,--help", "show help");
  root.set_version_flag("-V,--version", "tamis " + version(), "show the version");
  root.require_subcommand(1);
  std::vector<Command> commands = {
      add_rerank(root),   add_embed(root),    add_tokenize(root),  add_inspect(root),
      add_quantize(root), add_bench(root),    add_devices(root),   add_doctor(root),
      add_verify(root),   add_selftest(root), add_index(root),     add_search(root),
      add_serve(root),    add_train(root),    add_eval(root),      add_distill(root),
      add_mine(root),     add_split(root),    add_completion(root)};
  for (const Command& command : commands) {
    command.app->set_help_flag("-h,--help", "show help");
    command.app->group("Commands");
  }
  return commands;
}

int run_commands(int argc, const char* const* argv, std::chrono::steady_clock::time_point start) {
  CLI::App root(kDescription, "tamis");
  const std::vector<Command> commands = build(root);
  if (argc < 2) throw UsageError("no command given", "see 'tamis --help'");
  try {
    parse_arguments(root, argc, argv);
  } catch (const CLI::CallForVersion& version) {
    write_to_stdout(std::string(version.what()) + "\n");
    return 0;
  } catch (const CLI::Success&) {
    const auto chosen = root.get_subcommands();
    write_to_stdout(chosen.empty() ? root.help() : chosen.front()->help());
    return 0;
  }
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run(start);
  }
  return 0;
}

// As if the signal had never been ignored: the parent sees the usual end.
[[noreturn]] void die_of_closed_pipe() {
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
  std::_Exit(128 + SIGPIPE);  // it is blocked
}

}  // namespace

int run_program(int argc, const char* const* argv) {
  const auto start = std::chrono::steady_clock::now();
  hold_standard_descriptors();
  // So that a lost reader unwinds the stack and temporary files are removed on the way.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run_commands(argc, argv, start);
  } catch (const ClosedPipe&) {
    die_of_closed_pipe();
  } catch (const HintedError& error) {
    print_error(error.what(), error.hint());
    return info(error.code()).exit_status;
  } catch (const Error& error) {
    print_error(error.what());
    return info(error.code()).exit_status;
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return info(ErrorCode::kResourceExhausted).exit_status;
  } catch (const std::exception& error) {
    print_error(fmt::format("a defect of tamis: {}", error.what()));
    return info(ErrorCode::kInternal).exit_status;
  }
}

}  // namespace tamis::cli
