#include "tamis/selftest.h"

#include <algorithm>
#include <cmath>
#include <future>

#include "base/fail.h"
#include "device/device_set.h"
#include "engine/selftest_ops.h"
#include "tamis/embedder.h"
#include "tamis/model.h"
#include "tamis/reranker.h"

namespace tamis {
namespace {

constexpr std::chrono::milliseconds kTimeout{60'000};

std::shared_ptr<Device> open(const SelftestOptions& options, const std::string& device,
                             const std::string& cuda_options) {
  DeviceSetOptions set;
  set.sims = options.devices.sims;
  set.nvml_library = options.devices.nvml_library;
  set.host_root = options.devices.host_root;
  set.cuda_plugin = options.devices.cuda_plugin;
  set.cuda_options = cuda_options;
  return DeviceSet(set).open(parse_device_name(device));
}

/// The largest difference; NaN if there is one in either.
double difference(const std::vector<float>& got, const std::vector<float>& want) {
  double out = got.size() == want.size() ? 0 : NAN;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(d <= out)) out = d;  // and stays NaN
    if (std::isnan(out)) break;
  }
  return out;
}

template <class Compute>
SelftestCheck check(const std::string& name, double tolerance, const std::vector<float>& want,
                    const Compute& compute) {
  SelftestCheck out{name, false, 0, tolerance, {}};
  try {
    out.error = difference(compute(), want);
    out.passed = out.error <= tolerance;
  } catch (const Error& e) {
    out.error = NAN;
    out.problem = e.what();
  }
  return out;
}

/// The same work on two streams at once, again and again: every round must give what the first
/// gave.
SelftestCheck find_races(const std::shared_ptr<Device>& device, const OpCase& op, int rounds) {
  SelftestCheck out{fmt::format("{}: {} rounds on two streams", op.name, rounds), true, 0, 0, {}};
  try {
    std::vector<float> first;
    for (int i = 0; i < rounds && out.passed; ++i) {
      const auto run = [&] {
        OpBench bench(device, kTimeout);
        return op.run(bench);
      };
      auto other = std::async(std::launch::async, run);
      const auto a = run(), b = other.get();
      if (first.empty()) first = a;
      out.error = std::max(difference(a, first), difference(b, first));
      out.passed = out.error == 0;
    }
  } catch (const Error& e) {
    out.passed = false;
    out.error = NAN;
    out.problem = e.what();
  }
  return out;
}

SelftestTiming time_op(const std::shared_ptr<Device>& device, const OpTiming& timing) {
  using Clock = std::chrono::steady_clock;
  OpBench bench(device, kTimeout);
  const auto run = timing.make(bench);
  run();
  bench.finish();
  // As many as take about a fifth of a second, from how long one takes.
  const auto measure = [&](int n) {
    const auto begin = Clock::now();
    for (int i = 0; i < n; ++i) run();
    bench.finish();
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count() / n;
  };
  const double once = std::max(measure(1), 1e-3);
  const double ms = measure(static_cast<int>(std::clamp(200 / once, 1.0, 1000.0)));
  return {timing.name, ms, timing.flops / ms / 1e6};
}

/// Logits or vectors of some texts of different lengths.
std::vector<float> numbers_of(const std::filesystem::path& model, const LoadOptions& load) {
  std::vector<std::string> texts;
  for (size_t n : {1, 3, 9, 30, 80, 200}) {
    std::string text;
    for (size_t i = 0; i < n; ++i) text += i % 3 == 0 ? "a drum sieve " : "of fine horsehair ";
    texts.push_back(text);
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  if (describe_model(model, load).info.kind == ModelKind::kEmbedder) {
    return Embedder::load(model, load).embed(views).values;
  }
  std::vector<float> out(views.size());
  for (const RerankResult& r : Reranker::load(model, load).rerank("what is a tamis", views)) {
    out[r.index] = r.logit;
  }
  return out;
}

void compare_scores(const SelftestOptions& options, const std::string& cuda_options,
                    SelftestReport& report) {
  LoadOptions here;
  const std::vector<float> want = numbers_of(options.model, here);
  // What is promised of each storage type (DESIGN: f32 1e-4; the rest as for the cpu).
  for (const auto& [dtype, tolerance] : {std::pair{"f32", 1e-4}, {"f16", 5e-3}, {"bf16", 3e-2}}) {
    LoadOptions there;
    there.device = options.device;
    there.dtype = dtype;
    DevicesOptions devices = options.devices;
    devices.cuda_options = cuda_options;
    there.devices = std::make_shared<Devices>(devices);
    report.checks.push_back(check(fmt::format("scores of the model in {}, beside the cpu's", dtype),
                                  tolerance, want,
                                  [&] { return numbers_of(options.model, there); }));
  }
}

}  // namespace

bool SelftestReport::passed() const {
  return std::all_of(checks.begin(), checks.end(), [](const auto& c) { return c.passed; });
}

SelftestReport selftest(const SelftestOptions& options) {
  const auto say = [&](std::string_view part) {
    if (options.progress) options.progress(part);
  };
  if (parse_device_names(options.device).size() != 1) {
    fail(ErrorCode::kInvalidArgument, "selftest: expected one device, got \"{}\"", options.device);
  }
  const auto device = open(options, options.device, options.devices.cuda_options);
  SelftestReport report;
  report.device = device->info().name;
  report.description = device->info().description;

  say("ops");
  const auto ref = open(options, "ref", "");
  bool attention_wrong = false, attention_right_if_plain = device->info().kind == "cuda";
  std::vector<OpCase> cases = op_cases();
  if (OpBench(device, kTimeout).train_ops() != nullptr) {
    for (OpCase& op : train_op_cases()) cases.push_back(std::move(op));
  }
  for (const OpCase& op : cases) {
    OpBench expected(ref, kTimeout);
    const std::vector<float> want = op.run(expected);
    const auto on = [&](const std::shared_ptr<Device>& d) {
      return check(op.name, op.tolerance, want, [&] {
        OpBench bench(d, kTimeout);
        return op.run(bench);
      });
    };
    report.checks.push_back(on(device));
    if (!op.attention || report.checks.back().passed) continue;
    attention_wrong = true;
    if (attention_right_if_plain) {
      attention_right_if_plain = on(open(options, options.device, "attention=plain")).passed;
    }
  }
  if (attention_wrong && attention_right_if_plain) report.advice = "attention=plain";

  say("races");
  for (const OpCase& op : cases) {
    if (op.attention || op.name == "add_layer_norm" || op.name.starts_with("training: attention")) {
      report.checks.push_back(find_races(device, op, options.rounds));
    }
  }
  if (!options.model.empty()) {
    say("scores");
    compare_scores(options, options.devices.cuda_options, report);
  }
  if (!options.times) return report;
  say("times");
  for (const OpTiming& timing : op_timings()) {
    try {
      report.timings.push_back(time_op(device, timing));
    } catch (const Error& e) {
      report.checks.push_back({timing.name, false, NAN, 0, e.what()});
    }
  }
  return report;
}

}  // namespace tamis
