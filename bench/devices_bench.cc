// What placement and the queue cost, and what several devices bring. Ratios within one run.
//
//   devices_bench MODEL SMALL_MODEL
//
// MODEL is a real one (the default reranker), SMALL_MODEL a tiny one whose own work is next to
// nothing beside the simulated devices' times.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "engine/model_engine.h"
#include "model/spec.h"
#include "tamis/error.h"
#include "tamis/reranker.h"

namespace {

using namespace tamis;
using Clock = std::chrono::steady_clock;

double ms_of(const std::function<void()>& action) {
  const auto start = Clock::now();
  action();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Texts {
  Texts(size_t count, size_t words) {
    for (size_t i = 0; i < count; ++i) {
      std::string text;
      for (size_t n = 0; n < words / 2 + (i * 37) % words; ++n) text += "the sieve ";
      texts.push_back(text);
    }
    views.assign(texts.begin(), texts.end());
  }
  std::vector<std::string> texts;
  std::vector<std::string_view> views;
};

LoadOptions on(const std::string& device, std::vector<std::string> sims = {}) {
  LoadOptions options;
  options.device = device;
  options.devices = std::make_shared<Devices>(DevicesOptions{std::move(sims), "none", "/"});
  return options;
}

void row(const std::string& what, const std::string& got, const std::string& aim) {
  fmt::print("| {} | {} | {} |\n", what, got, aim);
}

// One sequence of one token through the queue, and straight through a replica of its own.
void queue_cost(const std::string& small) {
  const ModelSpec spec = read_spec(small, {});
  const auto model = HostModel::open(spec, {});
  const auto devices = std::make_shared<DeviceSet>(DeviceSetOptions{});
  ModelEngine engine(model, devices, {});
  PlacementOptions options;
  options.threads = 1;
  engine.place("cpu", options);
  const auto device = devices->open({"cpu", -1});
  const auto account = device->open_account("bench", MemoryAccount::no_limit);
  const std::chrono::seconds timeout(60);
  Workspace workspace(device, {1, {}}, account, timeout);
  auto weights =
      place_weights(model, *device, workspace.stream(), DType::kF32, nullptr, account, timeout);
  Replica replica(std::move(weights), device, std::move(workspace), {1, {}}, 1024);
  const std::vector<int32_t> ids = {5};
  const std::vector<SequenceView> sequences = {{ids, {}}};
  const PackedBatch batch = pack(sequences, std::vector<size_t>{0}, spec.positions);
  std::vector<float> out(static_cast<size_t>(model->output_size()));
  std::vector<double> queued, straight;
  for (int i = 0; i < 3000; ++i) {
    queued.push_back(ms_of([&] { engine.run(sequences, {}); }));
    straight.push_back(ms_of([&] { replica.run(batch, usual_outputs(spec), out); }));
  }
  const double cost = 1000 * (median(queued) - median(straight));
  row("queue and scheduler, one request at a time",
      fmt::format("{:.0f} us ({:.0f} with, {:.0f} without)", cost, 1000 * median(queued),
                  1000 * median(straight)),
      "<= 100 us");
}

void two_cpu_replicas(const std::string& model) {
  const Texts texts(64, 200);
  const Reranker one = Reranker::load(model, on("cpu")), two = Reranker::load(model, on("cpu,cpu"));
  std::vector<double> a, b;
  for (int i = 0; i < 5; ++i) {
    a.push_back(ms_of([&] { one.rerank("what is a tamis", texts.views); }));
    b.push_back(ms_of([&] { two.rerank("what is a tamis", texts.views); }));
  }
  row("two cpu replicas beside one with all cores, 64 long pairs",
      fmt::format("{:.3f} of its time ({:.0f} and {:.0f} ms)", median(b) / median(a), median(b),
                  median(a)),
      "<= 1.05");
  size_t copied = 0;
  for (const Placement& p : two.placement()) copied += p.shares_weights ? 0 : p.weight_bytes;
  row("weights of two cpu replicas",
      fmt::format("{:.3f} of one", static_cast<double>(copied) /
                                       static_cast<double>(one.placement()[0].weight_bytes)),
      "1");
}

double sim_ms(const std::string& small, const std::string& place,
              const std::vector<std::string>& sims, const Texts& texts) {
  const Reranker reranker = Reranker::load(small, on(place, sims));
  reranker.rerank("q", std::span(texts.views).first(40));
  return ms_of([&] { reranker.rerank("q", texts.views); });
}

void four_simulated(const std::string& small) {
  const Texts texts(2000, 40);
  const std::string fast = "gflops=2,launch_us=5", slow = fast + ",slow=3";
  const std::string all = "sim:0,sim:1,sim:2,sim:3";
  const double one = sim_ms(small, "sim:0", {fast}, texts);
  const double four = sim_ms(small, all, {fast, fast, fast, fast}, texts);
  row("four simulated devices",
      fmt::format("{:.2f} x one ({:.0f} and {:.0f} ms)", one / four, four, one), ">= 3.7");
  const double mixed = sim_ms(small, all, {fast, fast, fast, slow}, texts);
  const double possible = one / (3 + 1.0 / 3);
  // As FlagEmbedding does it: a quarter of the passages, by count, to each device.
  std::vector<std::unique_ptr<Reranker>> apart;
  for (const std::string& sim : {fast, fast, fast, slow}) {
    apart.push_back(std::make_unique<Reranker>(Reranker::load(small, on("sim:0", {sim}))));
  }
  const double split = ms_of([&] {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 4; ++i) {
      threads.emplace_back(
          [&, i] { apart[i]->rerank("q", std::span(texts.views).subspan(i * 500, 500)); });
    }
    for (auto& thread : threads) thread.join();
  });
  row("one of the four 3 x slower",
      fmt::format("{:.0f} % of what is possible; static splitting {:.0f} %", 100 * possible / mixed,
                  100 * possible / split),
      ">= 92 %");
}

void moves(const std::string& model) {
  Reranker reranker = Reranker::load(model, on("cpu", {""}));
  const Texts texts(4, 30);
  std::atomic<bool> stop{false};
  std::atomic<int> done{0}, failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        try {
          reranker.rerank("what is a tamis", texts.views);
          ++done;
        } catch (const Error&) {
          ++failed;
        }
      }
    });
  }
  double pause = 0, load = 0;
  for (const char* place : {"sim:0", "cpu,cpu", "cpu"}) {
    const MoveReport report = reranker.to(place);
    pause = std::max(pause, report.pause_ms);
    load = std::max(load, report.load_ms);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  row("three moves under load",
      fmt::format("{} failed of {}, longest pause {:.1f} ms, longest placement {:.0f} ms",
                  failed.load(), done + failed, pause, load),
      "0 failed");
}

void warm(const std::string& model) {
  std::vector<double> ratios;
  for (int i = 0; i < 5; ++i) {
    const Reranker reranker = Reranker::load(model, on("cpu"));
    reranker.place().warmup();
    const Texts texts(4, 60);
    std::vector<double> ms;
    for (int k = 0; k < 10; ++k) {
      ms.push_back(ms_of([&] { reranker.rerank("what is a tamis", texts.views); }));
    }
    ratios.push_back(ms.front() / ms.back());
  }
  row("first request after warm-up beside the tenth", fmt::format("{:.2f} x", median(ratios)), "1");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: devices_bench MODEL SMALL_MODEL\n");
    return 64;
  }
  try {
    fmt::print("| what | measured | aim |\n|---|---|---|\n");
    queue_cost(argv[2]);
    two_cpu_replicas(argv[1]);
    four_simulated(argv[2]);
    moves(argv[1]);
    warm(argv[1]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "devices_bench: {}\n", error.what());
    return 70;
  }
}
