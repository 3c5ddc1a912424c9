// What the host does for a batch on a card whose kernels take no time: host_cost MODEL DTYPE
// [OPTIONS] prints microseconds for one pair of about 64 tokens. Not a test: docs/performance.md
// has its figures.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "fakes/cuda/fake_cudart.h"
#include "tamis/reranker.h"

int main(int count, char** arguments) {
  using Clock = std::chrono::steady_clock;
  if (count < 3) return 64;
  tamis::fakes::FakeCuda& fake = *fake_cuda();
  tamis::fakes::FakeSetup setup;
  setup.devices[0].memory_bytes = size_t{8} << 30;
  setup.protect = setup.compute = false;
  fake.set_up(setup);
  tamis::LoadOptions options;
  tamis::DevicesOptions devices;
  devices.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
  devices.cuda_options = count > 3 ? arguments[3] : "";
  options.devices = std::make_shared<tamis::Devices>(devices);
  options.device = "cuda:0";
  options.dtype = arguments[2];
  try {
    const auto reranker = tamis::Reranker::load(arguments[1], options);
    std::string passage;
    for (int i = 0; i < 26; ++i) passage += "sieve ";
    const std::string_view passages[] = {passage};
    std::vector<double> times;
    size_t tokens = 0;
    for (int i = 0; i < 300; ++i) {
      const auto begin = Clock::now();
      tokens = reranker.rerank("what is a tamis", passages)[0].tokens;
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    }
    std::nth_element(times.begin(), times.begin() + 150, times.end());
    auto counts = fake.counts();
    fmt::print("{} tokens, median {:.0f} us a call; {} launches, {} products, {} graph launches\n",
               tokens, times[150], counts.calls["cudaLaunchKernel"] / 300,
               counts.calls["cublasLtMatmul"] / 300, counts.graph_launches);
  } catch (const std::exception& e) {
    fmt::print("{}\n", e.what());
    return 1;
  }
}
