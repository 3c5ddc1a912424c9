// tamis devices

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "arguments.h"
#include "commands.h"
#include "devices_view.h"
#include "options.h"
#include "progress.h"
#include "tamis/reranker.h"

namespace tamis::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  tamis devices
  tamis devices --watch --interval 500
  tamis devices --format json | jq '.devices[] | {name, free_bytes, total_bytes}'
  tamis devices --sim memory=2GiB --model models/bge-m3 --device sim:0

GPUs are listed without touching them. With --model the model is loaded, so that its memory shows.)";

// How busy the cores are takes two readings.
constexpr auto kFirstInterval = std::chrono::milliseconds(100);

struct Options {
  ModelOptions model;
  OutputOptions output;
  bool watch = false;
  size_t interval_ms = 1000;
};

size_t terminal_rows(int descriptor) {
  winsize size = {};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

// One picture after the other, each in the place of the one before on a terminal that can do it.
class Screen {
 public:
  Screen(Output& output, const Options& options)
      : output_(output),
        options_(options),
        redraw_(options.watch && may_decorate(output.descriptor())) {}

  void show(const std::vector<DeviceStatus>& devices) {
    std::string& out = output_.buffer();
    if (options_.output.format == "table") {
      show_table(devices);
    } else {
      const bool indented = options_.output.format == "json" && !options_.watch;
      write_devices(out, devices, indented ? JsonLayout::kIndented : JsonLayout::kLine);
      out += '\n';
    }
    output_.flush();
  }

  /// Until the next picture is due, or the reader has gone; who writes then finds out.
  void wait() const {
    pollfd reader = {output_.descriptor(), 0, 0};
    ::poll(&reader, 1, static_cast<int>(std::min<size_t>(options_.interval_ms, 1 << 30)));
  }

 private:
  void show_table(const std::vector<DeviceStatus>& devices) {
    std::string& out = output_.buffer();
    const int descriptor = output_.descriptor();
    const bool terminal = output_.is_terminal();
    std::vector<std::string> lines = device_lines(
        devices, {terminal ? terminal_columns(descriptor) : 0, may_decorate(descriptor)});
    if (!redraw_) {
      if (shown_) out += '\n';
      for (const std::string& line : lines) out += line + "\n";
      shown_ = true;
      return;
    }
    // What has scrolled out of the window could not be drawn over; the last line stays empty.
    const size_t rows = terminal_rows(descriptor);
    if (rows > 2 && lines.size() > rows - 1) {
      lines.resize(rows - 2);
      lines.push_back("(more than this window shows)");
    }
    if (drawn_lines_ > 0) out += fmt::format("\r\x1b[{}A", drawn_lines_);
    for (const std::string& line : lines) out += line + "\x1b[K\n";
    out += "\x1b[J";
    drawn_lines_ = lines.size();
  }

  Output& output_;
  const Options& options_;
  const bool redraw_;
  bool shown_ = false;
  size_t drawn_lines_ = 0;
};

int run(const Options& options) {
  const Notices notices = options.output.notices();
  if (options.watch && !options.output.path.empty() && plain(options.output.path) != "-") {
    throw UsageError("--watch does not end, and the file of --output appears at the end",
                     "use > FILE");
  }
  const std::string directory = plain(options.model.directory);
  if (directory.empty() && options.model.place.device_given->count() > 0) {
    throw UsageError("--device says where a model is put, and no model is given",
                     "give --model DIR; without it all devices are listed");
  }
  Output output = Output::open(plain(options.output.path));
  const LoadOptions load = load_options(options.model, 0, notices);
  std::optional<Reranker> model;
  if (!directory.empty()) {
    model.emplace(Reranker::load(directory, load));
    settle(model->place(), options.model.place, notices);
  }
  Screen screen(output, options);
  load.devices->status();
  std::this_thread::sleep_for(kFirstInterval);
  screen.show(load.devices->status());
  while (options.watch) {
    screen.wait();
    screen.show(load.devices->status());
  }
  output.finish();
  return 0;
}

}  // namespace

Command add_devices(CLI::App& root) {
  CLI::App* app = root.add_subcommand("devices", "List devices with their memory, or watch them");
  auto options = std::make_shared<Options>();
  CLI::Option* watch =
      app->add_flag("-w,--watch", options->watch, "show them again and again, until Ctrl-C");
  add_count(*app, "--interval", options->interval_ms, 10,
            "milliseconds between two pictures (default: 1000)")
      ->needs(watch);
  app->add_option("-m,--model", options->model.directory, "load this model directory first")
      ->type_name("DIR")
      ->group("Model");
  add_place_options(*app, options->model.place);
  add_output_options(*app, options->output, {"table", "json", "jsonl"});
  app->footer(kFooter);
  return {app, [options](auto) { return run(*options); }};
}

}  // namespace tamis::cli
