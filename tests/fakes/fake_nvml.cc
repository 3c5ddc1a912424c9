#include "fake_nvml.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

// NVML's types are plain C: enumerations are int, a device is an opaque pointer.
namespace {

using tamis::fakes::FakeCard;
using tamis::fakes::FakeNvml;

constexpr int kSuccess = 0;
constexpr int kUninitialized = 1;
constexpr int kInvalidArgument = 2;
constexpr int kInsufficientSize = 7;

// A device is its index plus one, which no test should rely on.
int index_of(const void* device) {
  return static_cast<int>(reinterpret_cast<intptr_t>(device)) - 1;
}

// Counts the call; the code with which it must fail at once, or kSuccess. The mutex is held.
int enter(FakeNvml& fake, const char* function, int card = -1) {
  ++fake.calls[function];
  if (fake.initialised == 0) return kUninitialized;
  for (const int key : {card, -1}) {
    if (const auto found = fake.failures.find({function, key}); found != fake.failures.end()) {
      return found->second;
    }
  }
  return kSuccess;
}

int enter_device(FakeNvml& fake, const char* function, const void* device) {
  const int index = index_of(device);
  if (const int code = enter(fake, function, index); code != kSuccess) return code;
  return index >= 0 && index < static_cast<int>(fake.cards.size()) ? kSuccess : kInvalidArgument;
}

int give(std::string_view value, char* out, unsigned length) {
  if (out == nullptr) return kInvalidArgument;
  if (value.size() >= length) return kInsufficientSize;
  std::memcpy(out, value.data(), value.size());
  out[value.size()] = '\0';
  return kSuccess;
}

struct Memory {
  unsigned long long total, free, used;
};

struct Utilization {
  unsigned gpu, memory;
};

// Fields in the order of the header's process records; each version has more of them.
struct Record {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
  unsigned long long protected_memory;
};
static_assert(sizeof(Record) == 32);

}  // namespace

extern "C" {

FakeNvml* fake_nvml() {
  static FakeNvml state;
  return &state;
}

int nvmlInit_v2() {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  ++fake.calls["nvmlInit_v2"];
  if (const auto found = fake.failures.find({"nvmlInit_v2", -1}); found != fake.failures.end()) {
    return found->second;
  }
  ++fake.initialised;
  ++fake.inits;
  return kSuccess;
}

int nvmlShutdown() {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  ++fake.calls["nvmlShutdown"];
  if (fake.initialised == 0) return kUninitialized;
  --fake.initialised;
  return kSuccess;
}

const char* nvmlErrorString(int code) {
  switch (code) {
    case 0:
      return "The operation was successful";
    case 1:
      return "Uninitialized";
    case 2:
      return "Invalid Argument";
    case 3:
      return "Not Supported";
    case 4:
      return "Insufficient Permissions";
    case 7:
      return "Insufficient Size";
    case 9:
      return "Driver Not Loaded";
    case 15:
      return "GPU is lost";
    case 18:
      return "Driver/library version mismatch";
    default:
      return "Unknown Error";
  }
}

int nvmlSystemGetDriverVersion(char* version, unsigned length) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  if (const int code = enter(fake, "nvmlSystemGetDriverVersion"); code != kSuccess) return code;
  return give(fake.driver_version, version, length);
}

int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  if (const int code = enter(fake, "nvmlSystemGetCudaDriverVersion_v2"); code != kSuccess) {
    return code;
  }
  if (version == nullptr) return kInvalidArgument;
  *version = fake.cuda_version;
  return kSuccess;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  if (const int code = enter(fake, "nvmlDeviceGetCount_v2"); code != kSuccess) return code;
  if (count == nullptr) return kInvalidArgument;
  *count = static_cast<unsigned>(fake.cards.size());
  return kSuccess;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  const int code = enter(fake, "nvmlDeviceGetHandleByIndex_v2", static_cast<int>(index));
  if (code != kSuccess) return code;
  if (device == nullptr || index >= fake.cards.size()) return kInvalidArgument;
  *device = reinterpret_cast<void*>(static_cast<intptr_t>(index) + 1);
  return kSuccess;
}

int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  const int code = enter_device(fake, "nvmlDeviceGetName", device);
  return code != kSuccess ? code : give(fake.cards[index_of(device)].name, name, length);
}

int nvmlDeviceGetUUID(void* device, char* uuid, unsigned length) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  const int code = enter_device(fake, "nvmlDeviceGetUUID", device);
  return code != kSuccess ? code : give(fake.cards[index_of(device)].uuid, uuid, length);
}

int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  const int code = enter_device(fake, "nvmlDeviceGetMemoryInfo", device);
  if (code != kSuccess) return code;
  if (memory == nullptr) return kInvalidArgument;
  const FakeCard& card = fake.cards[index_of(device)];
  *memory = {card.total, card.total - std::min(card.total, card.used), card.used};
  return kSuccess;
}

int nvmlDeviceGetUtilizationRates(void* device, Utilization* utilization) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  const int code = enter_device(fake, "nvmlDeviceGetUtilizationRates", device);
  if (code != kSuccess) return code;
  if (utilization == nullptr) return kInvalidArgument;
  const FakeCard& card = fake.cards[index_of(device)];
  *utilization = {card.gpu_percent, card.memory_percent};
  return kSuccess;
}

}  // extern "C"

namespace tamis::fakes {

int running_processes(const char* function, void* device, unsigned* count, void* records,
                      size_t record_bytes) {
  FakeNvml& fake = *fake_nvml();
  const std::lock_guard lock(fake.mutex);
  if (const int code = enter_device(fake, function, device); code != kSuccess) return code;
  if (count == nullptr || (records == nullptr && *count > 0)) return kInvalidArgument;
  FakeCard& card = fake.cards[index_of(device)];
  const unsigned room = *count;
  *count = static_cast<unsigned>(card.processes.size());
  if (room < card.processes.size()) {
    for (int i = 0; i < fake.newcomers; ++i) card.processes.push_back(card.processes.back());
    return kInsufficientSize;
  }
  for (size_t i = 0; i < card.processes.size(); ++i) {
    Record record;
    std::memset(&record, 0, sizeof record);
    record.pid = card.processes[i].pid;
    record.used_memory = card.processes[i].bytes;
    record.gpu_instance = record.compute_instance = 0xFFFFFFFF;
    std::memcpy(static_cast<char*>(records) + i * record_bytes, &record, record_bytes);
  }
  return kSuccess;
}

}  // namespace tamis::fakes
