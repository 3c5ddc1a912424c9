// What the doctor finds of the devices: which there are, which were asked for, and what hides one.

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/byte_size.h"
#include "base/fail.h"
#include "engine/doctor.h"

namespace tamis::doctor {
namespace {

struct Gpus {
  bool driver = false;
  std::string why_not;
  std::string version;  // "driver 550.54.15, CUDA up to 12.4"
  std::vector<GpuStatus> cards;
};

Gpus look(const DeviceSet& devices) {
  Gpus out;
  const Nvml* nvml = devices.nvml(&out.why_not);
  if (nvml == nullptr) return out;
  out.driver = true;
  const int cuda = nvml->cuda_version();
  out.version = nvml->driver_version().empty() ? "driver of unknown version"
                                               : "driver " + nvml->driver_version();
  if (cuda > 0) out.version += fmt::format(", CUDA up to {}.{}", cuda / 1000, cuda % 1000 / 10);
  try {
    out.cards = nvml->gpus();
  } catch (const Error& e) {
    out.why_not = e.what();
  }
  return out;
}

std::string card_text(const GpuStatus& card) {
  std::string out = fmt::format("cuda:{} {}, {} free of {}", card.index, card.name,
                                format_bytes(card.free_bytes), format_bytes(card.total_bytes));
  if (card.utilisation_percent >= 0) out += fmt::format(", {} % busy", card.utilisation_percent);
  return out;
}

std::string listed(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, "; "));
}

std::string names_of(const std::vector<KnownDevice>& devices) {
  std::string out;
  for (const KnownDevice& d : devices) {
    out += fmt::format("{}{}{}", out.empty() ? "" : ", ", d.name.text(),
                       d.usable ? "" : " (not usable)");
  }
  return out + ", sim:N, ref";
}

bool is_gpu(const DeviceName& name) { return name.kind == "cuda"; }

std::vector<DeviceName> parsed(const std::string& device, std::string& problem) {
  try {
    return parse_device_names(device);
  } catch (const Error& e) {
    problem = e.what();
    return {};
  }
}

// The card of the list that a setting's item names; its size if none.
size_t card_of(std::string_view item, const std::vector<GpuStatus>& gpus) {
  while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
  while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
  size_t number = 0;
  const char* const end = item.data() + item.size();
  const auto read = std::from_chars(item.data(), end, number);
  if (read.ec == std::errc() && read.ptr == end) return std::min(number, gpus.size());
  size_t found = gpus.size();
  for (size_t i = 0; i < gpus.size() && item.starts_with("GPU-"); ++i) {
    if (!gpus[i].uuid.starts_with(item)) continue;
    if (found < gpus.size()) return gpus.size();  // the beginning of two
    found = i;
  }
  return found;
}

struct Asked {
  const DeviceName& name;
  const std::vector<KnownDevice>& known;
  const Gpus& gpus;
  const DeviceQuestions& questions;
};

Finding no_such_device(const Asked& asked) {
  return {"device.unknown", Severity::kProblem,
          fmt::format("There is no device {}", asked.name.text()),
          fmt::format("devices here: {}", names_of(asked.known)),
          "tamis devices lists them; to run now: --device cpu"};
}

std::optional<Finding> examine_gpu(const Asked& asked) {
  const std::string name = asked.name.text();
  const auto index = static_cast<size_t>(asked.name.index);
  const std::vector<GpuStatus>& cards = asked.gpus.cards;
  if (!asked.gpus.driver) {
    return Finding{"gpu.no_driver", Severity::kProblem,
                   fmt::format("{} was asked for, and there is no NVIDIA driver", name),
                   asked.gpus.why_not,
                   "install the driver until nvidia-smi works (in a container: docker run --gpus "
                   "all); to run now: --device cpu"};
  }
  const auto visible = visible_gpus(cards, asked.questions.cuda_visible_devices);
  if (index >= visible.size() && index < cards.size()) {
    std::vector<std::string> seen;
    for (size_t i = 0; i < visible.size(); ++i) {
      seen.push_back(
          fmt::format("cuda:{} is {} ({})", i, cards[visible[i]].name, cards[visible[i]].uuid));
    }
    return Finding{"device.hidden", Severity::kProblem,
                   fmt::format("CUDA_VISIBLE_DEVICES hides {}", name),
                   fmt::format("it is set to \"{}\"; {} of {} cards can be seen{}{}",
                               *asked.questions.cuda_visible_devices, visible.size(), cards.size(),
                               seen.empty() ? "" : ": ", listed(seen)),
                   visible.empty() ? "unset CUDA_VISIBLE_DEVICES"
                                   : "unset CUDA_VISIBLE_DEVICES, or ask for --device cuda:0"};
  }
  for (const KnownDevice& d : asked.known) {
    if (d.name != asked.name) continue;
    if (d.usable) return std::nullopt;
    return Finding{"gpu.unusable", Severity::kProblem, fmt::format("{} cannot be used", name),
                   fmt::format("{}; {}; {}", d.description, asked.gpus.version, d.problem),
                   "to run now: --device cpu"};
  }
  return no_such_device(asked);
}

std::optional<Finding> examine_name(const Asked& asked) {
  const DeviceName& name = asked.name;
  if (is_gpu(name)) return examine_gpu(asked);
  if (name.kind == "auto" || name.kind == "ref") return std::nullopt;
  for (const KnownDevice& d : asked.known) {
    if (d.name != name) continue;
    if (d.usable) return std::nullopt;
    return Finding{"device.unusable", Severity::kProblem,
                   fmt::format("{} cannot be used", name.text()), d.problem,
                   "to run now: --device cpu"};
  }
  // A simulated device needs no description.
  if (name.kind == "sim") return std::nullopt;
  return no_such_device(asked);
}

}  // namespace

std::vector<size_t> visible_gpus(const std::vector<GpuStatus>& gpus,
                                 const std::optional<std::string>& setting) {
  std::vector<size_t> out;
  if (!setting) {
    for (size_t i = 0; i < gpus.size(); ++i) out.push_back(i);
    return out;
  }
  for (size_t begin = 0; begin <= setting->size();) {
    const size_t comma = std::min(setting->find(',', begin), setting->size());
    const size_t card = card_of(std::string_view(*setting).substr(begin, comma - begin), gpus);
    if (card >= gpus.size()) break;
    // CUDA shows none at all when one is named twice.
    if (std::find(out.begin(), out.end(), card) != out.end()) return {};
    out.push_back(card);
    begin = comma + 1;
  }
  return out;
}

void examine_gpus(const DeviceSet& devices, const DeviceQuestions& questions, Findings& findings) {
  const Gpus gpus = look(devices);
  std::string ignored;
  const auto asked = parsed(questions.device, ignored);
  const bool wanted = std::any_of(asked.begin(), asked.end(), is_gpu);
  if (!gpus.driver) {
    if (wanted) return;  // examine_names says more about it
    findings.push_back(
        {"gpu.none", Severity::kOk, "No NVIDIA GPU, and none was asked for", gpus.why_not, ""});
    return;
  }
  std::vector<std::string> cards, unusable;
  for (const GpuStatus& card : gpus.cards) {
    if (card.problem.empty()) {
      cards.push_back(card_text(card));
      continue;
    }
    findings.push_back({"gpu.card", Severity::kWarning,
                        fmt::format("cuda:{} does not answer as it should", card.index),
                        fmt::format("{}: {}", card.name.empty() ? "?" : card.name, card.problem),
                        fmt::format("nvidia-smi -i {}; dmesg | grep -i nvrm", card.index)});
  }
  findings.push_back({"gpu.driver", gpus.why_not.empty() ? Severity::kOk : Severity::kWarning,
                      "NVIDIA driver",
                      fmt::format("{}; {}", gpus.version,
                                  !gpus.why_not.empty() ? gpus.why_not
                                  : cards.empty()       ? "no card answers"
                                                        : listed(cards)),
                      gpus.why_not.empty() ? "" : "nvidia-smi"});
  for (const KnownDevice& d : devices.list()) {
    if (is_gpu(d.name) && !d.usable) {
      unusable.push_back(fmt::format("{} {}: {}", d.name.text(), d.description, d.problem));
    }
  }
  if (!wanted && !unusable.empty()) {
    findings.push_back({"gpu.unusable", Severity::kInfo, "GPUs are seen that cannot be used",
                        listed(unusable), "models run on the cpu: --device cpu"});
  }
  if (questions.cuda_visible_devices) {
    std::vector<std::string> seen;
    const auto visible = visible_gpus(gpus.cards, questions.cuda_visible_devices);
    for (size_t i = 0; i < visible.size(); ++i) {
      seen.push_back(fmt::format("cuda:{} is card {} of nvidia-smi", i, visible[i]));
    }
    findings.push_back(
        {"gpu.visible", Severity::kInfo, "CUDA_VISIBLE_DEVICES renumbers the cards",
         fmt::format("it is set to \"{}\": {}", *questions.cuda_visible_devices,
                     seen.empty() ? "no card can be seen" : listed(seen)),
         "unset CUDA_VISIBLE_DEVICES, and choose by --device; CUDA_DEVICE_ORDER=PCI_BUS_ID counts "
         "as nvidia-smi does"});
  }
}

std::vector<DeviceName> examine_names(const DeviceSet& devices, const DeviceQuestions& questions,
                                      Findings& findings) {
  std::string problem;
  const std::vector<DeviceName> asked = parsed(questions.device, problem);
  const std::vector<KnownDevice> known = devices.list();
  if (asked.empty()) {
    findings.push_back({"device.unknown", Severity::kProblem, "No device has that name",
                        fmt::format("{}; devices here: {}", problem, names_of(known)),
                        "tamis devices lists them; to run now: --device cpu"});
    return {};
  }
  const Gpus gpus = std::any_of(asked.begin(), asked.end(), is_gpu) ? look(devices) : Gpus();
  bool all = true;
  std::vector<DeviceName> seen;
  for (const DeviceName& name : asked) {
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
    seen.push_back(name);
    if (auto finding = examine_name({name, known, gpus, questions})) {
      findings.push_back(std::move(*finding));
      all = false;
    }
  }
  if (!all) return {};
  findings.push_back(
      {"device.asked", Severity::kOk, "The device asked for is there", questions.device, ""});
  return asked;
}

}  // namespace tamis::doctor
