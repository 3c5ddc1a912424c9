#pragma once

#include "tamis/train.h"

namespace tamis::cli {

/// What torchrun, Slurm's and Kubernetes' launchers tell a process: WORLD_SIZE, RANK, MASTER_ADDR,
/// MASTER_PORT. Without WORLD_SIZE: a run of one. Errors: invalid_argument (names the variable).
TrainRanks ranks_of_environment();

/// "cuda" becomes the card of LOCAL_RANK where that is told.
std::string device_of_environment(const std::string& device);

}  // namespace tamis::cli
