#include "devices_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_size.h"
#include "display_width.h"

namespace tamis::cli {
namespace {

constexpr size_t kBarColumns = 20;
constexpr size_t kBytesColumns = 9;

// How many of the bar's columns a part of the memory takes: rounded, but something is never
// nothing.
size_t share(size_t bytes, size_t total, size_t columns) {
  if (bytes == 0 || total == 0) return 0;
  const double exact = static_cast<double>(bytes) / static_cast<double>(total);
  return std::clamp<size_t>(static_cast<size_t>(exact * kBarColumns + 0.5), 1, columns);
}

std::string bar(const DeviceStatus& device) {
  const size_t own = share(device.used_bytes, device.total_bytes, kBarColumns);
  const size_t other = share(device.other_bytes, device.total_bytes, kBarColumns - own);
  const std::string left(kBarColumns - own - other, '.');
  return fmt::format("[\x1b[32m{}\x1b[33m{}\x1b[0m\x1b[2m{}\x1b[0m]", std::string(own, '#'),
                     std::string(other, '+'), left);
}

std::string bytes_cell(size_t bytes, bool known) {
  return pad_left(known ? format_bytes(bytes) : "-", kBytesColumns);
}

class View {
 public:
  View(std::span<const DeviceStatus> devices, const DevicesLook& look) : look_(look) {
    for (const DeviceStatus& d : devices) name_columns_ = std::max(name_columns_, d.name.size());
    heading();
    for (const DeviceStatus& device : devices) add(device);
    if (look.decorate) {
      out_.push_back(
          "\x1b[32m#\x1b[0m Tamis here   \x1b[33m+\x1b[0m others   \x1b[2m.\x1b[0m free");
    }
  }
  std::vector<std::string> take() { return std::move(out_); }

 private:
  void heading() {
    std::string line = pad_right("device", name_columns_) + "  ";
    if (look_.decorate) line += pad_right("memory", kBarColumns + 4);
    for (const char* name : {"Tamis", "others", "free", "total"}) {
      line += pad_left(name, kBytesColumns) + " ";
    }
    line += " busy";
    out_.push_back(look_.decorate ? "\x1b[1m" + line + "\x1b[0m" : line);
  }

  // Below a device's own line.
  void note(const std::string& text) {
    const size_t indent = name_columns_ + 2;
    const size_t room = look_.columns > indent + 20 ? look_.columns - indent - 2 : 0;
    std::string before(indent, ' ');
    for (const std::string& line : wrap_to_columns(text, room)) {
      out_.push_back(before + line);
      before.resize(indent + 2, ' ');
    }
  }

  void add(const DeviceStatus& device) {
    const bool known = device.total_bytes > 0;
    std::string line = pad_right(device.name, name_columns_) + "  ";
    if (look_.decorate) line += bar(device) + "  ";
    for (const size_t bytes :
         {device.used_bytes, device.other_bytes, device.free_bytes, device.total_bytes}) {
      line += bytes_cell(bytes, known) + " ";
    }
    line += device.utilisation_percent < 0
                ? "    -"
                : fmt::format("{:3.0f} %", std::max(0.0, device.utilisation_percent));
    out_.push_back(line);
    if (!device.description.empty()) note(device.description);
    if (!device.usable) note("not usable: " + device.problem);
    for (const ModelMemory& model : device.models) note(model_text(model));
    for (const DeviceProcess& process : device.processes) {
      note(fmt::format("process {} {}: {}", process.pid,
                       process.name.empty() ? "of an unknown name" : process.name,
                       process.bytes > 0 ? format_bytes(process.bytes) : "unknown memory"));
    }
  }

  static std::string model_text(const ModelMemory& model) {
    std::string out =
        fmt::format("{}: weights {}, workspace {}, planned {}, peak {}", model.model,
                    format_bytes(model.weight_bytes), format_bytes(model.workspace_bytes),
                    format_bytes(model.reserved_bytes), format_bytes(model.peak_bytes));
    if (model.limit_bytes > 0) out += fmt::format(", limit {}", format_bytes(model.limit_bytes));
    return out;
  }

  const DevicesLook look_;
  size_t name_columns_ = 6;
  std::vector<std::string> out_;
};

}  // namespace

std::vector<std::string> device_lines(std::span<const DeviceStatus> devices,
                                      const DevicesLook& look) {
  return View(devices, look).take();
}

}  // namespace tamis::cli
