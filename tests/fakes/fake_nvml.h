#pragma once

// A library in the place of NVIDIA's libnvidia-ml, written from the documented behaviour of the
// functions that it has. A test opens it by its path, takes fake_nvml() from it with dlsym, and
// describes the machine there. The state lives as long as somebody keeps the library open.

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace tamis::fakes {

struct FakeProcess {
  unsigned pid = 0;
  unsigned long long bytes = 0;
};

struct FakeCard {
  std::string uuid, name;
  unsigned long long total = 0, used = 0;
  unsigned gpu_percent = 0, memory_percent = 0;
  std::vector<FakeProcess> processes;
};

/// Set it before other threads call the library.
struct FakeNvml {
  std::vector<FakeCard> cards;
  std::string driver_version = "550.54.15";
  int cuda_version = 12040;

  /// (function, card) → the code that it returns; card -1: functions without one, or every card.
  std::map<std::pair<std::string, int>, int> failures;
  /// A call that finds the buffer too small lets so many more processes appear.
  int newcomers = 0;
  /// Of nvmlDeviceGetComputeRunningProcesses_v3, which was not the same in every driver.
  size_t v3_record_bytes = 24;

  std::mutex mutex;     // of what the functions write:
  int initialised = 0;  ///< nvmlInit_v2 less nvmlShutdown
  int inits = 0;
  std::map<std::string, int> calls;  ///< by function
};

using FakeNvmlFunction = FakeNvml*();

/// What the functions of the three versions have in common; theirs is the size of a record.
int running_processes(const char* function, void* device, unsigned* count, void* records,
                      size_t record_bytes);

}  // namespace tamis::fakes

/// The state, for tests. Exported.
extern "C" tamis::fakes::FakeNvml* fake_nvml();
