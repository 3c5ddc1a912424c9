#include "place_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <limits>

#include "arguments.h"
#include "base/byte_size.h"
#include "lines.h"
#include "options.h"

namespace tamis::cli {
namespace {

constexpr const char* kGroup = "Place";

CLI::Validator at_most(size_t most) {
  return CLI::Validator(
      [most](std::string& text) {
        return text.size() < 10 && std::stoull(text) <= most
                   ? std::string()
                   : fmt::format("expected at most {}, got {}", most, text);
      },
      "");
}

// Checked where the command line is read, so that a wrong one is a wrong command line.
const CLI::Validator kSize(
    [](std::string& text) {
      try {
        parse_bytes(plain(text));
        return std::string();
      } catch (const Error& error) {
        return std::string(error.what());
      }
    },
    "");

// One description a line; what begins with # is a comment.
void read_descriptions(const std::string& path, std::vector<std::string>& out) {
  LineReader reader = LineReader::open(path);
  while (const auto line = reader.next()) {
    const std::string_view text = line->substr(0, line->find('#'));
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) continue;
    out.emplace_back(text.substr(begin, text.find_last_not_of(" \t") + 1 - begin));
  }
}

std::string placement_text(const Placement& placement) {
  std::string out =
      fmt::format("{} ({}): weights {} in {}{}, workspace {} for batches of {} tokens",
                  placement.device, placement.description, format_bytes(placement.weight_bytes),
                  placement.dtype, placement.shares_weights ? " (shared)" : "",
                  format_bytes(placement.workspace_bytes), grouped(placement.batch_tokens));
  if (placement.threads > 0) {
    out += fmt::format(", {} {}", placement.threads, placement.threads == 1 ? "thread" : "threads");
  }
  if (!placement.on_device) out += ", NOT all on the device";
  return out;
}

void warm_up(ModelPlace& place, const Notices& notices) {
  for (const WarmupResult& result : place.warmup()) {
    const std::string what = fmt::format("warm-up on {}, {} x {} tokens", result.device,
                                         result.shape.sequences, result.shape.tokens);
    if (!result.error.empty()) {
      notices.say(fmt::format("{}: {}", what, result.error));
    } else if (result.skipped) {
      notices.say(fmt::format("{}: left out, the time was up", what));
    } else {
      notices.say(
          fmt::format("{}: {:.1f} ms, then {:.1f} ms", what, result.first_ms, result.second_ms));
    }
  }
}

}  // namespace

void add_sim_option(CLI::App& app, PlaceOptions& options) {
  app.add_option("--sim", options.sims,
                 "what sim:0, sim:1, ... are: memory=2GiB,gflops=50; or @FILE")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(kGroup);
}

void add_cuda_options(CLI::App& app, PlaceOptions& options) {
  app.add_option("--cuda", options.cuda, "how GPUs are used: graphs=on, attention=plain")
      ->type_name("LIST")
      ->group(kGroup);
  app.add_option("--cuda-plugin", options.cuda_plugin,
                 "libtamis_cuda.so (default: the one beside this program)")
      ->type_name("FILE")
      ->group(kGroup);
}

void add_place_options(CLI::App& app, PlaceOptions& options) {
  options.device_given =
      app.add_option("--device", options.device,
                     "cpu (default), cpu:0, sim:0, cuda:0, auto, ref; several: cpu,cpu")
          ->type_name("LIST")
          ->group(kGroup);
  add_choice(app, "--dtype", options.dtype, {"f32", "f16", "bf16", "int8"},
             "of the weights (default: f32; int8 if the model is quantised)")
      ->group(kGroup);
  app.add_option("--memory-limit", options.memory_limit,
                 "the most that the model may take on each device: 800MB, 2GiB")
      ->check(kSize)
      ->type_name("SIZE")
      ->group(kGroup);
  app.add_option("--cache", options.cache,
                 "keep packed weights in DIR for the next start ($TAMIS_CACHE)")
      ->type_name("DIR")
      ->group(kGroup);
  add_work_options(app, options);
  add_sim_option(app, options);
  add_cuda_options(app, options);
}

void add_work_options(CLI::App& app, PlaceOptions& options) {
  add_count(app, "--threads", options.threads, 0,
            "threads that compute (default: all usable cores)")
      ->check(at_most(static_cast<size_t>(std::numeric_limits<int>::max())))
      ->group(kGroup);
  app.add_option("--isa", options.isa,
                 "instruction set; default: the best here (tamis inspect lists them)")
      ->type_name("NAME")
      ->group(kGroup);
}

void add_run_options(CLI::App& app, PlaceOptions& options) {
  app.add_flag("--warmup", options.warmup, "run made-up batches before the first request")
      ->group(kGroup);
  add_count(app, "--device-timeout", options.timeout_s, 1,
            "a device silent for N seconds has failed (default: 120)")
      ->check(at_most(1'000'000))
      ->group(kGroup);
}

DevicesOptions devices_options(const PlaceOptions& options) {
  DevicesOptions out;
  out.cuda_options = plain(options.cuda);
  out.cuda_plugin = plain(options.cuda_plugin);
  for (const std::string& typed : options.sims) {
    const std::string text = plain(typed);
    if (text.starts_with('@')) {
      read_descriptions(text.substr(1), out.sims);
    } else {
      out.sims.push_back(text);
    }
  }
  return out;
}

std::shared_ptr<Devices> make_devices(const PlaceOptions& options) {
  return std::make_shared<Devices>(devices_options(options));
}

LoadOptions load_options(const PlaceOptions& options, const Notices& notices) {
  LoadOptions out;
  out.device = plain(options.device);
  out.dtype = options.dtype;
  out.isa = plain(options.isa);
  out.threads = static_cast<int>(options.threads);
  if (!options.memory_limit.empty()) {
    out.memory_limit_bytes = parse_bytes(plain(options.memory_limit));
  }
  const char* cache = std::getenv("TAMIS_CACHE");
  out.cache_directory = options.cache.empty() && cache != nullptr ? cache : plain(options.cache);
  out.device_timeout_ms = static_cast<int>(options.timeout_s * 1000);
  out.devices = make_devices(options);
  // What auto chose, and why, comes as information; whoever lets it choose wants to know.
  out.log = notices.sink(out.device == "auto" ? LogLevel::kInfo : LogLevel::kWarning);
  return out;
}

void settle(ModelPlace& place, const PlaceOptions& options, const Notices& notices) {
  if (options.warmup) warm_up(place, notices);
  for (const Placement& placement : place.placement()) notices.detail(placement_text(placement));
}

}  // namespace tamis::cli
