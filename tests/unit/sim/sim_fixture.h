#pragma once

// What the tests of the simulated accelerator share: one of it, and how an error is expected.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu/cpu_device.h"
#include "backend/sim/sim_device.h"
#include "tamis/error.h"

namespace tamis {

constexpr std::chrono::seconds kSoon{60};

/// `run` throws an Error of this code whose message has all of these parts.
inline void expect_error(ErrorCode code, const std::vector<std::string>& parts,
                         const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(info(error.code()).name, info(code).name) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos)
          << "no \"" << part << "\" in: " << error.what();
    }
    return;
  }
  ADD_FAILURE() << "expected an error: " << info(code).name;
}

/// A simulated device, and the account that all memory of the test is on.
struct Sim {
  explicit Sim(std::string_view description = "", const std::string& name = "sim:0") {
    state->apply(description);
    host = make_cpu_device(CpuDeviceOptions(), HostProbe());
    device = make_sim_device(name, state, host);
    account = device->open_account("test", MemoryAccount::no_limit);
  }

  Buffer allocate(size_t bytes) { return device->allocate(bytes, account, Purpose::kWorkspace); }
  Buffer allocate_floats(size_t n) { return allocate(n * sizeof(float)); }
  std::shared_ptr<Stream> stream() { return device->make_stream(StreamOptions()); }

  std::shared_ptr<SimState> state = std::make_shared<SimState>();
  std::shared_ptr<Device> host;
  std::shared_ptr<Device> device;
  std::shared_ptr<MemoryAccount> account;
};

inline float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

/// What `count` floats at this address of a device are, once the stream's work is done.
inline std::vector<float> read(Stream& stream, const float* from, size_t count) {
  std::vector<float> out(count);
  stream.download(out.data(), from, count * sizeof(float));
  stream.synchronize(kSoon);
  return out;
}

inline void write(Stream& stream, float* to, const std::vector<float>& values) {
  stream.upload(to, values.data(), values.size() * sizeof(float));
  stream.synchronize(kSoon);
}

}  // namespace tamis
