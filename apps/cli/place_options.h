#pragma once

// Where a model runs: the options that say so, the devices of this process, and what people are
// told about them.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "notices.h"
#include "tamis/device.h"
#include "tamis/place.h"
#include "tamis/types.h"

namespace tamis::cli {

struct PlaceOptions {
  std::string device = "cpu";
  std::string dtype;         ///< empty: as LoadOptions::dtype
  std::string memory_limit;  ///< as it was typed; empty: none
  size_t threads = 0;
  std::string isa;
  std::string cache;              ///< as it was typed; empty: $TAMIS_CACHE
  std::vector<std::string> sims;  ///< as they were typed
  std::string cuda;               ///< as DevicesOptions::cuda_options takes it
  std::string cuda_plugin;        ///< as it was typed; empty: the one that is installed
  bool warmup = false;
  size_t timeout_s = 120;
  CLI::Option* device_given = nullptr;
};

/// --cuda, --cuda-plugin.
void add_cuda_options(CLI::App& app, PlaceOptions& options);
/// --sim.
void add_sim_option(CLI::App& app, PlaceOptions& options);
/// --device, --dtype, --memory-limit, --cache, --threads, --isa, --sim, --cuda.
void add_place_options(CLI::App& app, PlaceOptions& options);
/// --threads, --isa: of commands that work on the cpu.
void add_work_options(CLI::App& app, PlaceOptions& options);
/// --warmup, --device-timeout: of commands that run a model on what the user gives them.
void add_run_options(CLI::App& app, PlaceOptions& options);

/// The devices of this process; the i-th description is that of sim:i.
/// Errors: invalid_argument (a description), not_found, unavailable (a file of descriptions).
std::shared_ptr<Devices> make_devices(const PlaceOptions& options);
DevicesOptions devices_options(const PlaceOptions& options);

/// Everything but what is said about the model itself. "auto" tells its choice as a notice.
LoadOptions load_options(const PlaceOptions& options, const Notices& notices);

/// After a model was loaded: warms it up if that was asked for, and says where it is.
void settle(ModelPlace& place, const PlaceOptions& options, const Notices& notices);

}  // namespace tamis::cli
