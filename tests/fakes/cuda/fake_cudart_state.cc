// The state of the fake libcudart, its configuration, and what each call begins and ends with.

#include "fake_cudart_state.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tamis::fakes {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

size_t parse_bytes(const std::string& text) {
  size_t used = 0;
  const unsigned long long number = std::stoull(text, &used);
  const std::string unit = text.substr(used);
  if (unit.empty()) return number;
  if (unit == "KiB") return number << 10;
  if (unit == "MiB") return number << 20;
  if (unit == "GiB") return number << 30;
  throw std::invalid_argument("unknown unit " + unit);
}

using Settings = std::map<std::string, std::string>;

Settings parse_settings(const std::string& text) {
  Settings settings;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const size_t equals = part.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("no '=' in '" + part + "'");
    settings[part.substr(0, equals)] = part.substr(equals + 1);
    at = end + 1;
  }
  return settings;
}

/// Takes the setting away, so that what is left over is unknown.
template <typename F>
void take(Settings& settings, const std::string& key, F use) {
  const auto found = settings.find(key);
  if (found == settings.end()) return;
  use(found->second);
  settings.erase(found);
}

void read_device(Settings& settings, const std::string& suffix, FakeDevice& device) {
  take(settings, "memory" + suffix, [&](auto& v) { device.memory_bytes = parse_bytes(v); });
  take(settings, "multiprocessors" + suffix,
       [&](auto& v) { device.multiprocessors = std::stoi(v); });
  take(settings, "slow" + suffix, [&](auto& v) { device.slow_factor = std::stod(v); });
  take(settings, "capability" + suffix, [&](auto& v) {
    const size_t dot = v.find('.');
    if (dot == std::string::npos) throw std::invalid_argument("capability is like 8.6");
    device.major = std::stoi(v.substr(0, dot));
    device.minor = std::stoi(v.substr(dot + 1));
  });
}

}  // namespace

thread_local int current_device = 0;

State& State::get() {
  // Never destroyed: libraries unregister their kernels while the process ends.
  static State* state = [] {
    auto* made = new State;
    made->start_from_environment();
    return made;
  }();
  return *state;
}

void State::start(const FakeSetup& with) {
  captures.clear();
  thread_streams.clear();
  streams.clear();
  events.clear();
  graphs.clear();
  graph_execs.clear();
  for (const auto& block : pinned) std::free(block.first);
  pinned.clear();
  devices.clear();
  counts = {};
  complaints.clear();
  fail_at = fail_from = 0;
  for (auto& kernel : kernels) kernel.second->dynamic_shared.clear();

  setup = with;
  if (setup.devices.size() > kMostDevices) setup.devices.resize(kMostDevices);
  random.seed(setup.seed);
  for (FakeDevice& facts : setup.devices) {
    auto device = std::make_unique<Device>();
    device->index = static_cast<int>(devices.size());
    if (facts.uuid == decltype(facts.uuid){}) {
      std::memcpy(facts.uuid.data(), "GPU-FAKE-", 9);
      facts.uuid.back() = static_cast<unsigned char>(device->index + 1);
    }
    device->facts = facts;
    device->make_region();
    device->set_access(!setup.protect);
    auto legacy = std::make_shared<Stream>();
    legacy->device = device.get();
    legacy->legacy = true;
    device->streams.push_back(std::move(legacy));
    devices.push_back(std::move(device));
  }
}

void State::start_from_environment() {
  FakeSetup wanted;
  const char* text = std::getenv("TAMIS_FAKE_CUDA");
  long fail_one = 0, fail_all = 0;
  std::string trouble;
  try {
    Settings settings = parse_settings(text == nullptr ? "" : text);
    int count = 1;
    take(settings, "devices", [&](auto& v) { count = std::stoi(v); });
    if (count < 0 || count > kMostDevices) throw std::invalid_argument("devices is 0 to 8");
    FakeDevice device;
    read_device(settings, "", device);
    wanted.devices.assign(static_cast<size_t>(count), device);
    for (int i = 0; i < count; ++i) {
      read_device(settings, std::to_string(i), wanted.devices[static_cast<size_t>(i)]);
    }
    take(settings, "seed", [&](auto& v) { wanted.seed = std::stoull(v); });
    take(settings, "protect", [&](auto& v) { wanted.protect = v != "0"; });
    take(settings, "free_synchronizes", [&](auto& v) { wanted.free_synchronizes = v != "0"; });
    take(settings, "driver", [&](auto& v) { wanted.driver_version = std::stoi(v); });
    take(settings, "fail_allocation", [&](auto& v) { fail_one = std::stol(v); });
    take(settings, "fail_allocations_from", [&](auto& v) { fail_all = std::stol(v); });
    if (!settings.empty()) throw std::invalid_argument("unknown key " + settings.begin()->first);
  } catch (const std::exception& e) {
    trouble = std::string("TAMIS_FAKE_CUDA is wrong: ") + e.what();
    std::fprintf(stderr, "%s\n", trouble.c_str());  // nobody may read the complaints
  }
  start(wanted);
  fail_at = fail_one;
  fail_from = fail_all;
  if (!trouble.empty()) complaints.push_back(trouble);
}

Device* State::device_of(const void* p) const {
  for (const auto& device : devices) {
    if (device->contains(p)) return device.get();
  }
  return nullptr;
}

std::map<std::byte*, size_t>::const_iterator State::pinned_block(const void* p) const {
  auto* at = static_cast<std::byte*>(const_cast<void*>(p));
  auto found = pinned.upper_bound(at);
  if (found == pinned.begin()) return pinned.end();
  --found;
  return at < found->first + found->second ? found : pinned.end();
}

bool State::allocation_fails() {
  const long n = ++counts.allocation_attempts;
  return n == fail_at || (fail_from != 0 && n >= fail_from);
}

bool Device::allocation_fails() {
  if (fail_from_in > 0 && --fail_from_in == 0) fails_from_now = true;
  const bool now = fail_in > 0 && --fail_in == 0;
  return now || fails_from_now;
}

// --- Calls.

Call::Call(const char* function, Gate gate)
    : state(State::get()), lock(state.mutex), function_(function) {
  ++state.counts.calls[function];
  if (gate == kDevice) device();
}

cudaError_t Call::done(cudaError_t error) {
  // cudaErrorNotReady is an answer, not an error ("This result is not actually an error").
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  error_ = error;
  return error;
}

cudaError_t Call::refuse(cudaError_t error, const std::string& why) {
  state.complaints.push_back(std::string(function_) + ": " + why);
  return done(error);
}

Device* Call::device() {
  const auto index = static_cast<size_t>(current_device);
  if (state.setup.driver_version < CUDART_VERSION) {
    done(cudaErrorInsufficientDriver);
    return nullptr;
  }
  if (state.devices.empty()) {
    done(cudaErrorNoDevice);
    return nullptr;
  }
  if (index >= state.devices.size()) {
    done(cudaErrorInvalidDevice);
    return nullptr;
  }
  Device* current = state.devices[index].get();
  if (current->broken != cudaSuccess) {
    done(current->broken);
    return nullptr;
  }
  return current;
}

Stream* Call::stream(cudaStream_t handle) {
  Stream* found = nullptr;
  if (handle == nullptr || handle == cudaStreamLegacy) {
    Device* current = device();
    if (current == nullptr) return nullptr;
    found = current->streams.front().get();
  } else if (handle == cudaStreamPerThread) {
    Device* current = device();
    if (current == nullptr) return nullptr;
    auto& own = state.thread_streams[{std::this_thread::get_id(), current->index}];
    if (own == nullptr) {
      own = std::make_shared<Stream>();
      own->device = current;
      current->streams.push_back(own);
    }
    found = own.get();
  } else {
    const auto known = state.streams.find(reinterpret_cast<Handle>(handle));
    if (known == state.streams.end()) {
      refuse(cudaErrorInvalidResourceHandle, "not a live stream: " + hex(handle));
      return nullptr;
    }
    found = known->second.get();
  }
  if (found->device->broken != cudaSuccess) {
    done(found->device->broken);
    return nullptr;
  }
  return found;
}

Event* Call::event(cudaEvent_t handle) {
  const auto known = state.events.find(reinterpret_cast<Handle>(handle));
  if (known == state.events.end()) {
    refuse(cudaErrorInvalidResourceHandle, "not a live event: " + hex(handle));
    return nullptr;
  }
  Event* found = known->second.get();
  if (found->device->broken != cudaSuccess) {
    done(found->device->broken);
    return nullptr;
  }
  return found;
}

bool Call::unsafe() {
  if (!state.unsafe_in_capture()) return false;
  refuse(cudaErrorStreamCaptureUnsupported, "not allowed while a stream is captured");
  return true;
}

std::string hex(const void* p) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", p);
  return text;
}

}  // namespace tamis::fakes

using namespace tamis::fakes;

extern "C" {

// These two have no device behind them: they also answer when one is broken.
cudaError_t cudaGetLastError() {
  Call call("cudaGetLastError", Call::kNone);
  return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaPeekAtLastError() {
  Call call("cudaPeekAtLastError", Call::kNone);
  return last_error;
}

int fake_cuda_register_twin(const char* name, size_t argument_bytes,
                            void (*run)(const void*, dim3, dim3, size_t)) {
  if (name == nullptr || run == nullptr) return 1;
  State& state = State::get();
  const Lock lock(state.mutex);
  state.twins[name] = {argument_bytes, run};
  return 0;
}

}  // extern "C"
