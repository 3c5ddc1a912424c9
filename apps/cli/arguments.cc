#include "arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>

namespace tamis::cli {
namespace {

constexpr char kMark = '\x01';

std::vector<std::string> command_names(const CLI::App& root) {
  std::vector<std::string> out;
  for (const CLI::App* command : root.get_subcommands({})) out.push_back(command->get_name());
  return out;
}

bool is_command(std::string_view text, const CLI::App& root) {
  const auto names = command_names(root);
  return std::find(names.begin(), names.end(), text) != names.end();
}

bool means_something_to_cli11(std::string_view text, const CLI::App& root) {
  if (text.empty() || text == "++" || text.front() == kMark) return true;
  if (text.front() == '[' && text.back() == ']') return true;
  return is_command(text, root);
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) out.push_back("--" + name);
  }
  return out;
}

// Edits (insert, remove, change, swap neighbours) that make b of a.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last, last, row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (size_t i = 1; i <= a.size(); ++i) {
    before_last = std::exchange(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({change, last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row.back();
}

[[noreturn]] void unknown_word(const CLI::App& root, const CLI::App& app, const std::string& word) {
  const bool is_option = word.starts_with("-") && word.size() > 1;
  const bool at_root = &app == &root;
  const std::string name = at_root ? "tamis" : "tamis " + app.get_name();
  const std::string near =
      nearest(word, is_option || !at_root ? option_names(app) : command_names(root));
  std::string message =
      fmt::format("'{}' is not {} of '{}'", word, is_option ? "an option" : "a command", name);
  if (!is_option && !at_root) message = fmt::format("'{}' takes no argument '{}'", name, word);
  throw UsageError(message, near.empty() ? fmt::format("see '{} --help'", name)
                                         : fmt::format("did you mean '{}'?", near));
}

// CLI11's "--top-n: 1 required N missing" in plainer words; its other messages are good enough.
std::string message_of(const CLI::ParseError& error) {
  const std::string message = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) && message.ends_with("missing")) {
    return message.substr(0, message.find(':')) + ": its value is missing";
  }
  return message;
}

}  // namespace

std::vector<std::string> protect_texts(int argc, const char* const* argv, const CLI::App& root) {
  std::vector<std::string> out;
  bool in_command = false, only_texts = false;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (!in_command) {
      in_command = !word.starts_with('-');
      out.push_back(std::move(word));
      continue;
    }
    if (!only_texts && word == "--") {
      only_texts = true;
      continue;
    }
    const size_t equals = word.find('=');
    if (!only_texts && word.starts_with("--") && equals + 1 == word.size()) {
      // "--query=" would take the next word for its value.
      word.pop_back();
      out.push_back(std::move(word));
      out.emplace_back(1, kMark);
      continue;
    }
    if (only_texts || means_something_to_cli11(word, root)) word.insert(word.begin(), kMark);
    out.push_back(std::move(word));
  }
  return out;
}

std::string plain(const std::string& argument) {
  return argument.starts_with(kMark) ? argument.substr(1) : argument;
}

void parse_arguments(CLI::App& root, int argc, const char* const* argv) {
  std::vector<std::string> words = protect_texts(argc, argv, root);
  if (!words.empty() && !words[0].starts_with("-") && !is_command(words[0], root)) {
    unknown_word(root, root, words[0]);
  }
  std::reverse(words.begin(), words.end());  // CLI11 wants them so
  try {
    root.parse(words);
  } catch (const CLI::Success&) {
    throw;
  } catch (const CLI::ParseError& error) {
    const auto chosen = root.get_subcommands();
    const CLI::App& app = chosen.empty() ? root : *chosen.front();
    const auto extras = app.remaining();
    if (!extras.empty()) unknown_word(root, app, plain(extras.front()));
    const std::string name = chosen.empty() ? "tamis" : "tamis " + app.get_name();
    throw UsageError(message_of(error), fmt::format("see '{} --help'", name));
  }
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  // A third of the letters may be wrong; "--k" is not a slip for "--help".
  size_t limit = std::max<size_t>(1, word.size() / 3);
  for (const auto& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance <= limit && (best.empty() || distance < limit)) {
      best = candidate;
      limit = distance;
    }
  }
  if (!best.empty()) return best;
  for (const auto& candidate : known) {
    if (word.size() > 3 && candidate.starts_with(word)) return candidate;
  }
  return best;
}

}  // namespace tamis::cli
