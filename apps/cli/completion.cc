// tamis completion: shell scripts made from the commands and options themselves, so that they never
// lag behind.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "options.h"
#include "output.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  source <(tamis completion bash)                                  # this bash; ~/.bashrc for all
  tamis completion zsh > "${fpath[1]}/_tamis"                      # zsh, after compinit
  tamis completion fish > ~/.config/fish/completions/tamis.fish)";

struct OptionWords {
  std::vector<std::string> names;  // "-m", "--model"
  std::string value;               // "", "DIR", "FILE", "a|b|c", ...
  std::string description;

  bool takes_value() const { return !value.empty(); }
  std::vector<std::string> choices() const {
    std::vector<std::string> out;
    for (size_t at = 0; at < value.size() && value.find('|') != std::string::npos;) {
      const size_t end = std::min(value.find('|', at), value.size());
      out.push_back(value.substr(at, end - at));
      at = end + 1;
    }
    return out;
  }
};

struct CommandWords {
  std::string name, description;
  std::vector<OptionWords> options;
  std::string positional;  // value name of its arguments
};

/// Adds the options that help shows and that are not there yet.
void add_options(const CLI::App& app, CommandWords& out) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      out.positional = option->get_type_name();
      continue;
    }
    if (option->get_group().empty()) continue;
    const bool flag = option->get_type_size() == 0;
    OptionWords words{{}, flag ? "" : option->get_type_name(), option->get_description()};
    for (const auto& name : option->get_snames()) words.names.push_back(fmt::format("-{}", name));
    for (const auto& name : option->get_lnames()) words.names.push_back(fmt::format("--{}", name));
    const bool known = std::any_of(out.options.begin(), out.options.end(),
                                   [&](const auto& other) { return other.names == words.names; });
    if (!known) out.options.push_back(std::move(words));
  }
}

/// Of a command with commands of its own: their names stand for its arguments, and all their
/// options are offered.
CommandWords words_of(const CLI::App& app) {
  CommandWords out{app.get_name(), app.get_description(), {}, {}};
  add_options(app, out);
  std::string names;
  for (const CLI::App* command : app.get_subcommands({})) {
    add_options(*command, out);
    names += (names.empty() ? "" : "|") + command->get_name();
  }
  if (!names.empty()) out.positional = names;
  return out;
}

std::vector<CommandWords> all_words(const CLI::App& root) {
  std::vector<CommandWords> out;
  for (const CLI::App* app : root.get_subcommands({})) out.push_back(words_of(*app));
  return out;
}

std::string joined_names(const CommandWords& command) {
  std::string out;
  for (const auto& option : command.options) {
    for (const auto& name : option.names) out += fmt::format("{}{}", out.empty() ? "" : " ", name);
  }
  return out;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(from, at), text.size());
    out.append(text.substr(at, end - at));
    if (end < text.size()) out.append(to);
    at = end + from.size();
  }
  return out;
}

// Within single quotes of a POSIX-like shell.
std::string quoted(const std::string& text) {
  return fmt::format("'{}'", replaced(text, "'", "'\\''"));
}

// ---- bash

std::string bash_values(const OptionWords& option) {
  const auto choices = option.choices();
  if (!choices.empty()) {
    return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", fmt::join(choices, " "));
  }
  if (option.value == "DIR") {
    return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")";
  }
  if (option.value == "FILE") {
    return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")";
  }
  return "COMPREPLY=()";
}

std::string bash_script(const std::vector<CommandWords>& commands) {
  std::string names, values, options;
  for (const auto& command : commands) {
    names += fmt::format("{}{}", names.empty() ? "" : " ", command.name);
    for (const auto& option : command.options) {
      if (!option.takes_value()) continue;
      std::string patterns;
      for (const auto& name : option.names) {
        patterns += fmt::format("{}'{} {}'", patterns.empty() ? "" : "|", command.name, name);
      }
      values += fmt::format("    {}) {}; return ;;\n", patterns, bash_values(option));
    }
    const OptionWords positional{{}, command.positional, {}};
    options += fmt::format(
        "    {}) if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W '{}' -- \"$cur\")); else {}; fi "
        ";;\n",
        command.name, joined_names(command), bash_values(positional));
  }
  return fmt::format(R"(# bash completion of tamis; made by: tamis completion bash
_tamis() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev='' command='' i
  COMPREPLY=()
  ((COMP_CWORD > 0)) && prev=${{COMP_WORDS[COMP_CWORD - 1]}}
  for ((i = 1; i < COMP_CWORD; ++i)); do
    if [[ ${{COMP_WORDS[i]}} != -* ]]; then
      command=${{COMP_WORDS[i]}}
      break
    fi
  done
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W '{} --help --version' -- "$cur"))
    return
  fi
  case "$command $prev" in
{}  esac
  case $command in
{}  esac
}}
complete -F _tamis tamis
)",
                     names, values, options);
}

// ---- zsh

std::string zsh_action(const OptionWords& option) {
  const auto choices = option.choices();
  if (!choices.empty()) return fmt::format("({})", fmt::join(choices, " "));
  if (option.value == "DIR") return "_files -/";
  if (option.value == "FILE") return "_files";
  return " ";
}

// Within a description of _arguments brackets and colons have a meaning.
std::string zsh_text(std::string text) {
  for (const std::string_view special : {"\\", "[", "]", ":"}) {
    text = replaced(text, special, fmt::format("\\{}", special));
  }
  return text;
}

std::string zsh_script(const std::vector<CommandWords>& commands) {
  std::string list, cases;
  for (const auto& command : commands) {
    list += fmt::format("    {}\n",
                        quoted(fmt::format("{}:{}", command.name, zsh_text(command.description))));
    cases += fmt::format("        {})\n          _arguments -s \\\n", command.name);
    for (const auto& option : command.options) {
      for (const auto& name : option.names) {
        const std::string value =
            option.takes_value()
                ? fmt::format(":{}:{}", replaced(option.value, "|", " "), zsh_action(option))
                : "";
        cases +=
            fmt::format("            {} \\\n",
                        quoted(fmt::format("{}[{}]{}", name, zsh_text(option.description), value)));
      }
    }
    const OptionWords positional{{}, command.positional, {}};
    cases += fmt::format("            {}\n          ;;\n",
                         quoted(fmt::format("*:argument:{}", zsh_action(positional))));
  }
  return fmt::format(R"(#compdef tamis
# zsh completion of tamis; made by: tamis completion zsh
_tamis() {{
  local context state state_descr line
  typeset -A opt_args
  local -a commands
  commands=(
{}  )
  _arguments -C '(- *)'{{-h,--help}}'[show help]' '(- *)'--version'[show the version]' \
    '1: :->command' '*:: :->arguments'
  case $state in
    command) _describe command commands ;;
    arguments)
      case $words[1] in
{}      esac
      ;;
  esac
}}
if [ "$funcstack[1]" = _tamis ]; then _tamis "$@"; else compdef _tamis tamis; fi
)",
                     list, cases);
}

// ---- fish

std::string fish_quoted(const std::string& text) {
  return fmt::format("'{}'", replaced(replaced(text, "\\", "\\\\"), "'", "\\'"));
}

std::string fish_option(const std::string& command, const OptionWords& option) {
  std::string out = fmt::format("complete -c tamis -n '__fish_seen_subcommand_from {}'", command);
  for (const auto& name : option.names) {
    out += name.starts_with("--") ? fmt::format(" -l {}", name.substr(2))
                                  : fmt::format(" -s {}", name.substr(1));
  }
  if (option.takes_value()) {
    const auto choices = option.choices();
    if (!choices.empty())
      out += fmt::format(" -x -a '{}'", fmt::join(choices, " "));
    else if (option.value == "DIR")
      out += " -x -a '(__fish_complete_directories)'";
    else
      out += option.value == "FILE" ? " -r -F" : " -x";
  }
  return out + " -d " + fish_quoted(option.description) + "\n";
}

std::string fish_script(const std::vector<CommandWords>& commands) {
  std::string out =
      "# fish completion of tamis; made by: tamis completion fish\n"
      "complete -c tamis -f\n"
      "complete -c tamis -n __fish_use_subcommand -l help -d 'show help'\n"
      "complete -c tamis -n __fish_use_subcommand -l version -d 'show the version'\n";
  for (const auto& command : commands) {
    out += fmt::format("complete -c tamis -n __fish_use_subcommand -a {} -d {}\n", command.name,
                       fish_quoted(command.description));
  }
  for (const auto& command : commands) {
    for (const auto& option : command.options) out += fish_option(command.name, option);
    const OptionWords positional{{}, command.positional, {}};
    const auto choices = positional.choices();
    const std::string words = choices.empty()
                                  ? positional.value == "DIR" ? "(__fish_complete_directories)" : ""
                                  : fmt::format("{}", fmt::join(choices, " "));
    if (words.empty()) continue;
    out += fmt::format("complete -c tamis -n '__fish_seen_subcommand_from {}' -a '{}'\n",
                       command.name, words);
  }
  return out;
}

int run(const CLI::App& root, const std::string& shell) {
  const std::vector<CommandWords> commands = all_words(root);
  Output output = Output::open("-");
  output.buffer() = shell == "bash"  ? bash_script(commands)
                    : shell == "zsh" ? zsh_script(commands)
                                     : fish_script(commands);
  output.finish();
  return 0;
}

}  // namespace

Command add_completion(CLI::App& root) {
  CLI::App* app = root.add_subcommand("completion", "Print a completion script for a shell");
  auto shell = std::make_shared<std::string>();
  add_choice(*app, "shell", *shell, {"bash", "zsh", "fish"}, "the shell that will read it")
      ->required();
  app->footer(kFooter);
  return {app, [shell, &root](auto) { return run(root, *shell); }};
}

}  // namespace tamis::cli
