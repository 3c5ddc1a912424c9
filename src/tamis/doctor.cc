// The examination as a whole, and its measurements.

#include "tamis/doctor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <thread>

#include "base/fail.h"
#include "engine/doctor.h"
#include "tamis/reranker.h"
#include "tamis/session.h"

namespace tamis {
namespace {

using doctor::Findings;
using doctor::Speed;
using doctor::TimedBatch;

constexpr auto kIdleSample = std::chrono::milliseconds(200);
constexpr size_t kTiny = 8, kSmall = 64, kUsual = 128;  // tokens
constexpr size_t kMostPassages = 64;

// Words of many languages and lengths, in an order that does not repeat: a tokenizer that
// remembers words gains little.
std::string made_up_text(size_t words, uint32_t seed) {
  static constexpr const char* kWords[] = {
      "the",       "sieve",     "of",           "fine",       "flour",
      "and",       "Mehl",      "durch",        "panda",      "géant",
      "vit",       "montagnes", "chaîne",       "bears",      "however",
      "1,204",     "(2019)",    "небо",         "голубое",    "из-за",
      "рассеяния", "天空",      "呈蓝色",       "因为",       "αριθμός",
      "ουρανός",   "आकाश",      "नीला",         "biblioteca", "municipal",
      "abrió",     "libros",    "Wissenschaft", "measured",   "internationally"};
  std::string out;
  for (size_t i = 0; i < words; ++i) {
    seed = seed * 1664525u + 1013904223u;
    if (i > 0) out += ' ';
    out += kWords[(seed >> 16) % std::size(kWords)];
  }
  return out;
}

double process_seconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Measures one loaded model within a time limit.
class Measurement {
 public:
  Measurement(const Reranker& model, const DoctorOptions& options, size_t asked_tokens)
      : model_(model), options_(options), asked_tokens_(asked_tokens) {}

  /// One for each device, in the order of the placement.
  std::vector<Speed> run() {
    for (const Placement& p : model_.placement()) {
      if (p.retired || find(p.device) != nullptr) continue;
      Speed speed;
      speed.device = p.device;
      speed.batch_tokens = asked_tokens_ > 0 ? asked_tokens_ : p.batch_tokens;
      speed.threads = p.threads;
      most_ = std::max(most_, p.batch_tokens);
      speeds_.push_back(std::move(speed));
    }
    time_batches();
    time_call();
    return std::move(speeds_);
  }

 private:
  int left_ms() const { return std::max(0, options_.limit_ms - static_cast<int>(watch_.ms())); }
  Speed* find(const std::string& device) {
    const auto it = std::find_if(speeds_.begin(), speeds_.end(),
                                 [&](const Speed& s) { return s.device == device; });
    return it == speeds_.end() ? nullptr : &*it;
  }

  void time_batches() {
    WarmupOptions warmup;
    warmup.limit_ms = left_ms();
    warmup.shapes = {{1, kTiny}, {1, kSmall}};
    const size_t usual = std::min(kUsual, model_.info().max_length);
    for (size_t n = 1; n * usual <= most_; n *= 2) warmup.shapes.push_back({n, usual});
    const auto results = model_.place().warmup(warmup);
    std::map<std::string, size_t> seen;  // results of several replicas follow one another
    for (const WarmupResult& result : results) {
      Speed* speed = find(result.device);
      if (speed == nullptr || seen[result.device]++ >= warmup.shapes.size()) continue;
      speed->out_of_time |= result.skipped;
      if (result.skipped || !result.error.empty()) continue;
      const TimedBatch batch = {result.shape.sequences, result.shape.tokens, result.second_ms};
      switch (seen[result.device]) {
        case 1:
          speed->tiny = batch;
          break;
        case 2:
          speed->small = batch;
          break;
        default:
          if (speed->batches.empty() || batch.all_tokens() > speed->batches.back().all_tokens()) {
            speed->batches.push_back(batch);
          }
      }
    }
  }

  // A call as users make it, text and all; its times are the first device's if there are several.
  void time_call() {
    if (speeds_.empty() || speeds_[0].batches.empty()) return;
    Speed& speed = speeds_[0];
    const double ms_each =
        speed.batches.back().ms / static_cast<double>(speed.batches.back().sequences) * 2;
    const auto room = static_cast<size_t>(left_ms() / std::max(ms_each, 1e-3));
    const size_t passages = std::min(room, kMostPassages);
    if (passages < 2) {
      speed.out_of_time = true;
      return;
    }
    std::vector<std::string> texts;
    for (size_t i = 0; i < passages; ++i) {
      texts.push_back(made_up_text(kUsual / 2, static_cast<uint32_t>(i)));
    }
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    RerankOptions options;
    options.max_length = options_.max_length;
    RunStats stats;
    const double before = process_seconds();
    const Stopwatch watch;
    try {
      model_.rerank(made_up_text(8, 99), views, options, &stats);
    } catch (const Error&) {
      return;  // the placement says what became of the device
    }
    const double seconds = watch.ms() / 1000;
    speed.tokenize_ms = stats.tokenize_ms;
    speed.inference_ms = stats.inference_ms;
    speed.busy_cores = (process_seconds() - before) / std::max(seconds, 1e-6);
  }

  const Reranker& model_;
  const DoctorOptions& options_;
  const size_t asked_tokens_;
  size_t most_ = 0;
  const Stopwatch watch_;
  std::vector<Speed> speeds_;
};

void examine_length(const ModelInfo& info, const DoctorOptions& options, Findings& findings) {
  if (options.max_length >= info.max_length) return;
  findings.push_back(
      {"model.max_length", Severity::kInfo, "Long texts are cut",
       fmt::format("after {} tokens; the model could read {}", options.max_length, info.max_length),
       fmt::format("--max-length {}; results say which were cut (\"truncated\")",
                   info.max_length)});
}

/// As large batches as suit the device, so that smaller ones can be compared with them.
Reranker load(const DoctorOptions& options) {
  LoadOptions load = options.load;
  if (load.batch_tokens == 0) return Reranker::load(options.model, load);
  try {
    load.batch_tokens = 0;
    Reranker out = Reranker::load(options.model, load);
    const auto places = out.placement();
    const bool larger = std::any_of(places.begin(), places.end(), [&](const Placement& p) {
      return p.batch_tokens > options.load.batch_tokens;
    });
    if (larger) return out;
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kResourceExhausted) throw;
  }
  return Reranker::load(options.model, options.load);
}

void examine_loaded(const DoctorOptions& options, const std::vector<std::string>& asked,
                    const std::string& command, DoctorReport& report) {
  const Reranker model = load(options);
  const auto speeds = Measurement(model, options, options.load.batch_tokens).run();
  report.placement = model.placement();
  doctor::examine_placement(report.placement, asked, report.findings);
  for (const Speed& speed : speeds) doctor::judge_speed(speed, command, report.findings);
}

void examine_model(const DoctorOptions& options, DeviceSet& devices,
                   const std::vector<DeviceName>& names, DoctorReport& report) {
  Findings& findings = report.findings;
  try {
    const auto model = HostModel::open(read_spec(options.model, options.load), options.load.log);
    const ModelInfo info = make_info(*model);
    examine_length(info, options, findings);
    if (names.empty()) return;
    const bool embedder = info.kind == ModelKind::kEmbedder;
    const std::string command =
        fmt::format("tamis {} --model {}", embedder ? "embed" : "rerank", options.model.string());
    const PlacementOptions placement = placement_options(options.load);
    if (!doctor::examine_plan(*model, devices, names, placement, command, findings)) return;
    std::vector<std::string> asked;
    for (const auto& replica : plan_placement(*model, devices, names, placement).replicas) {
      asked.push_back(replica.device->info().name);
    }
    const std::string with_device = fmt::format("{} --device {}", command, options.load.device);
    examine_loaded(options, asked, with_device, report);
  } catch (const Error& e) {
    const bool place = e.code() == ErrorCode::kUnavailable ||
                       e.code() == ErrorCode::kResourceExhausted ||
                       e.code() == ErrorCode::kInvalidArgument;
    findings.push_back({place ? "place.failed" : "model.unreadable", Severity::kProblem,
                        place ? "The model could not be placed" : "The model cannot be read",
                        e.what(),
                        place ? "tamis devices shows the devices; to run now: --device cpu"
                              : fmt::format("tamis inspect {}", options.model.string())});
  }
}

}  // namespace

std::string_view name_of(Severity severity) {
  switch (severity) {
    case Severity::kProblem:
      return "problem";
    case Severity::kWarning:
      return "warning";
    case Severity::kInfo:
      return "info";
    default:
      return "ok";
  }
}

DoctorReport examine(const DoctorOptions& given) {
  DoctorOptions options = given;
  placement_options(options.load);
  if (!options.load.devices) options.load.devices = std::make_shared<Devices>();
  DeviceSet& devices = *options.load.devices->impl();
  DoctorReport report;
  doctor::HostQuestions host;
  host.before = devices.host().cpu_times();
  std::this_thread::sleep_for(kIdleSample);
  host.after = devices.host().cpu_times();
  host.device = options.load.device;
  host.isa = options.load.isa;
  host.threads = options.load.threads;
  host.isas = cpu_isas();
  host.omp_num_threads = options.omp_num_threads;
  const doctor::DeviceQuestions question = {options.load.device, options.cuda_visible_devices};
  const auto names = doctor::examine_names(devices, question, report.findings);
  if (!options.model.empty()) examine_model(options, devices, names, report);
  doctor::examine_cpu(devices.host(), host, report.findings);
  doctor::examine_host_memory(devices.host(), report.findings);
  doctor::examine_gpus(devices, question, report.findings);
  std::stable_sort(report.findings.begin(), report.findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  return report;
}

}  // namespace tamis
