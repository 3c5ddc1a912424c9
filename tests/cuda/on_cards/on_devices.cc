#include "on_devices.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "base/byte_size.h"
#include "base/fail.h"
#include "emulation/emulator.h"
#include "fakes/fake_nvml.h"

namespace tamis {
namespace {

constexpr int kCards = 4;

/// NVIDIA's management library, which lists the cards before anybody opens them. Kept open, so that
/// its state lives.
fakes::FakeNvml& nvml() {
  static void* const handle = dlopen(FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
  static fakes::FakeNvml* const state =
      reinterpret_cast<fakes::FakeNvmlFunction*>(dlsym(handle, "fake_nvml"))();
  return *state;
}

void set_memory(int card, size_t bytes) {
  fake_cuda()->set_memory(card, bytes);
  const auto index = static_cast<size_t>(card);
  if (index < nvml().cards.size()) nvml().cards[index].total = bytes;
}

/// So many are listed: as with sims, those that a test describes or names.
void list_cards(size_t count) {
  auto& cards = nvml().cards;
  while (cards.size() < count) {
    fakes::FakeCard card;
    card.uuid = fmt::format("GPU-{}", cards.size());
    card.name = "Fake GPU";
    card.total = size_t{1} << 30;
    cards.push_back(card);
  }
}

/// A new machine for each test; at its end nothing is left on it, and nothing was complained of.
class Machines : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override {
    emulation::settings() = {};
    fakes::FakeSetup setup;
    setup.devices.assign(kCards, fakes::FakeDevice{});
    for (fakes::FakeDevice& device : setup.devices) device.memory_bytes = size_t{4} << 30;
    nvml().cards.clear();
    nvml().cuda_version = CUDART_VERSION;
    fake_cuda()->set_up(setup);
    for (int i = 0; i < kCards; ++i) set_memory(i, size_t{1} << 30);
  }
  void OnTestEnd(const testing::TestInfo&) override {
    EXPECT_TRUE(fake_cuda()->live().none()) << fake_cuda()->live().allocations << " allocations";
    for (const std::string& text : fake_cuda()->complaints()) ADD_FAILURE() << text;
  }
};

const bool registered = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new Machines);
  return true;
}();

void apply(int card, const std::string& key, const std::string& value) {
  fakes::FakeCuda& fake = *fake_cuda();
  if (key == "memory") {
    set_memory(card, parse_bytes(value));
  } else if (key == "slow") {
    fake.set_slow_factor(card, std::stod(value));
  } else if (key == "fail_alloc") {
    fake.fail_allocation_on(card, std::stol(value));
  } else if (key == "fail_alloc_from") {
    fake.fail_allocations_on_from(card, std::stol(value));
  } else if (key == "fail_op") {
    fake.break_device(card, std::stol(value), cudaErrorLaunchFailure);
  } else if (key == "gone") {
    fake.break_device(card, 0, cudaErrorDevicesUnavailable);
  } else if (key == "hang") {
    fake.hang(card);
  } else if (key == "heal") {
    fake.heal(card);
  } else if (key != "gflops" && key != "launch_us" && key != "copy_gbps" && key != "seed" &&
             key != "order") {
    fail(ErrorCode::kInvalidArgument, "a card has no '{}'", key);
  }
}

}  // namespace

void describe_card(const std::string& name, const std::string& description) {
  const int card = std::stoi(name.substr(name.find(':') + 1));
  for (size_t at = 0; at < description.size();) {
    const size_t end = std::min(description.find(',', at), description.size());
    const std::string part = description.substr(at, end - at);
    const size_t equals = part.find('=');
    apply(card, part.substr(0, equals), part.substr(equals + 1));
    at = end + 1;
  }
}

LoadOptions on(const std::string& device, const std::vector<std::string>& cards) {
  DevicesOptions devices;
  devices.nvml_library = FAKE_NVML;
  devices.cuda_plugin = TAMIS_FAKE_CUDA_PLUGIN;
  LoadOptions options;
  options.device = device;
  options.devices = std::make_shared<Devices>(devices);
  nvml().cards.clear();
  list_cards(cards.size());
  for (size_t at = 0; (at = device.find("cuda:", at)) != std::string::npos; at += 5) {
    const char digit = at + 5 < device.size() ? device[at + 5] : 'x';
    if (digit >= '0' && digit < '0' + kCards) list_cards(static_cast<size_t>(digit - '0') + 1);
  }
  for (size_t i = 0; i < cards.size(); ++i) describe_card("cuda:" + std::to_string(i), cards[i]);
  return options;
}

}  // namespace tamis
