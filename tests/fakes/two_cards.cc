// Fills the fake NVML with a machine of two cards as soon as it is opened: for tests that start a
// program, and cannot describe the machine from within.

#include "fake_nvml.h"

namespace {

[[gnu::constructor]] void fill() {
  auto& fake = *fake_nvml();
  for (int i = 0; i < 2; ++i) {
    tamis::fakes::FakeCard card;
    card.uuid = i == 0 ? "GPU-a0000000" : "GPU-b0000000";
    card.name = "NVIDIA Fake 80GB";
    card.total = 80'000'000'000;
    card.used = i == 0 ? 1'000'000'000 : 30'000'000'000;
    card.gpu_percent = i == 0 ? 0 : 97;
    if (i == 1) card.processes.push_back({4'000'000, 29'000'000'000});
    fake.cards.push_back(card);
  }
}

}  // namespace
