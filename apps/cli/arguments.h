#pragma once

// Between argv and CLI11: texts reach the program as they were typed, and errors say what was
// meant.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "notices.h"

namespace tamis::cli {

/// A wrong command line; exit status 64.
class UsageError : public HintedError {
 public:
  UsageError(const std::string& message, std::string hint)
      : HintedError(ErrorCode::kInvalidArgument, message, std::move(hint)) {}
};

/// CLI11 gives a meaning to texts such as "[a, b]", "++", "", or one that is the name of a command.
/// Here such arguments, and all after "--", get a mark that plain() takes off again.
std::vector<std::string> protect_texts(int argc, const char* const* argv, const CLI::App& root);

/// The argument as it was typed.
std::string plain(const std::string& argument);

/// Parses into the options of `root`. Errors: UsageError; CLI::Success for --help and --version.
void parse_arguments(CLI::App& root, int argc, const char* const* argv);

/// The word of `known` that `word` was probably meant to be; empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace tamis::cli
