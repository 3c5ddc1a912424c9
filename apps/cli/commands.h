#pragma once

// The commands. Each adds itself to the tool and gives back what runs it.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <chrono>
#include <functional>

namespace tamis::cli {

struct Command {
  CLI::App* app;
  /// Called after the command line has been parsed; returns the exit status. Errors: any Error,
  /// ClosedPipe.
  std::function<int(std::chrono::steady_clock::time_point process_start)> run;
};

Command add_rerank(CLI::App& root);
Command add_embed(CLI::App& root);
Command add_tokenize(CLI::App& root);
Command add_inspect(CLI::App& root);
Command add_bench(CLI::App& root);
Command add_quantize(CLI::App& root);
Command add_train(CLI::App& root);
Command add_eval(CLI::App& root);
Command add_distill(CLI::App& root);
Command add_mine(CLI::App& root);
Command add_split(CLI::App& root);
Command add_devices(CLI::App& root);
Command add_doctor(CLI::App& root);
Command add_selftest(CLI::App& root);
Command add_index(CLI::App& root);
Command add_search(CLI::App& root);
Command add_serve(CLI::App& root);
Command add_verify(CLI::App& root);
Command add_completion(CLI::App& root);

}  // namespace tamis::cli
