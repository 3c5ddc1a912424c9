#pragma once

// The arguments of `tamis train`: FlagEmbedding's and transformers', and ours.

#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "options.h"
#include "tamis/train.h"

namespace tamis::cli {

/// Of one of the three tasks.
struct TrainArguments {
  TrainOptions train;
  std::string model, output_dir, memory_limit, query_instruction, passage_instruction;
  std::string device = "cpu", isa, logging_dir, cuda, cuda_plugin;
  std::vector<std::string> train_data;
  std::vector<std::string> report_to;
  std::string save_strategy = "steps";
  bool use_mrl = true;
  std::vector<std::string> ignored;  ///< of FlagEmbedding's arguments
  size_t threads = 0;
  OutputOptions output;
};

/// Adds `tamis train NAME`. What it returns is filled in when the command line is read.
std::shared_ptr<TrainArguments> add_train_task(CLI::App& train, const std::string& name,
                                               TrainTask task, const std::string& description);

/// What stands below the help of `tamis train`.
extern const char* const kTrainFooter;

}  // namespace tamis::cli
