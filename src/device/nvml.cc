#include "device/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "base/host.h"

namespace tamis {
namespace {

// Our own declarations of the part of NVML's binary interface that we use. Layouts and values are
// those of NVIDIA's published header; all of it is plain C with int return codes.
constexpr int kSuccess = 0;
constexpr int kNotSupported = 3;
constexpr int kInsufficientSize = 7;
constexpr int kFunctionNotFound = 13;
constexpr unsigned kTextBytes = 96;  // the largest that NVML asks for, of names and UUIDs

struct NvmlMemory {
  unsigned long long total, free, used;
};

struct NvmlUtilisation {
  unsigned gpu, memory;
};

// How every version of a process record begins.
struct NvmlProcess {
  unsigned pid;
  unsigned long long used_bytes;  // all ones: not available
};

using NvmlCard = struct NvmlCardTag*;

class Library {
 public:
  explicit Library(const std::string& name)
      : handle_(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {}
  ~Library() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  explicit operator bool() const { return handle_ != nullptr; }

  // The first of these functions that the library has; null if it has none.
  template <class Function>
  void find(Function*& out, std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      out = reinterpret_cast<Function*>(dlsym(handle_, name));
      if (out != nullptr) return;
    }
  }

 private:
  void* handle_;
};

// Process records are 16 bytes (first version), 24 (second and third) or 32 (the third in some 535
// drivers, under the same name), so the buffer has room for the largest, and how far the library
// wrote into it tells their size.
constexpr size_t kLargestRecord = 32;
constexpr unsigned char kUnwritten = 0xA5;

size_t record_bytes(const std::vector<unsigned char>& buffer, size_t count) {
  const auto last = std::find_if(buffer.rbegin(), buffer.rend(),
                                 [](unsigned char byte) { return byte != kUnwritten; });
  const auto written = static_cast<size_t>(buffer.rend() - last);
  for (const size_t size : {size_t{16}, size_t{24}, kLargestRecord}) {
    if (written <= count * size) return size;
  }
  return 24;  // more than it said it would: what the header documents
}

std::vector<GpuProcess> read_records(const std::vector<unsigned char>& buffer, size_t count) {
  const size_t stride = record_bytes(buffer, count);
  std::vector<GpuProcess> out;
  for (size_t i = 0; i < count; ++i) {
    NvmlProcess record;
    std::memcpy(&record, buffer.data() + i * stride, sizeof record);
    const bool known = record.used_bytes != std::numeric_limits<unsigned long long>::max();
    out.push_back({record.pid, known ? static_cast<size_t>(record.used_bytes) : 0,
                   HostProbe().process_name(record.pid)});
  }
  return out;
}

}  // namespace

struct Nvml::Api {
  Library library;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*cuda_version)(int*) = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*card)(unsigned, NvmlCard*) = nullptr;
  int (*name)(NvmlCard, char*, unsigned) = nullptr;
  int (*uuid)(NvmlCard, char*, unsigned) = nullptr;
  int (*memory)(NvmlCard, NvmlMemory*) = nullptr;
  int (*utilisation)(NvmlCard, NvmlUtilisation*) = nullptr;
  int (*processes)(NvmlCard, unsigned*, void*) = nullptr;

  explicit Api(const std::string& name);
  const char* missing() const;
  std::string text(const char* function, int code) const;
  int read_processes(NvmlCard gpu, std::vector<GpuProcess>& out) const;
  GpuStatus read_card(unsigned index) const;
};

Nvml::Api::Api(const std::string& library_name) : library(library_name) {
  if (!library) return;
  library.find(init, {"nvmlInit_v2"});
  library.find(shutdown, {"nvmlShutdown"});
  library.find(error_string, {"nvmlErrorString"});
  library.find(driver_version, {"nvmlSystemGetDriverVersion"});
  library.find(cuda_version,
               {"nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"});
  library.find(count, {"nvmlDeviceGetCount_v2"});
  library.find(card, {"nvmlDeviceGetHandleByIndex_v2"});
  library.find(name, {"nvmlDeviceGetName"});
  library.find(uuid, {"nvmlDeviceGetUUID"});
  library.find(memory, {"nvmlDeviceGetMemoryInfo"});
  library.find(utilisation, {"nvmlDeviceGetUtilizationRates"});
  library.find(processes,
               {"nvmlDeviceGetComputeRunningProcesses_v3",
                "nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetComputeRunningProcesses"});
}

// A function without which nothing can be said; null if all are there.
const char* Nvml::Api::missing() const {
  const std::array<std::pair<bool, const char*>, 7> needed = {{
      {init != nullptr, "nvmlInit_v2"},
      {shutdown != nullptr, "nvmlShutdown"},
      {count != nullptr, "nvmlDeviceGetCount_v2"},
      {card != nullptr, "nvmlDeviceGetHandleByIndex_v2"},
      {name != nullptr, "nvmlDeviceGetName"},
      {uuid != nullptr, "nvmlDeviceGetUUID"},
      {memory != nullptr, "nvmlDeviceGetMemoryInfo"},
  }};
  for (const auto& [there, function] : needed) {
    if (!there) return function;
  }
  return nullptr;
}

std::string Nvml::Api::text(const char* function, int code) const {
  const char* const words = error_string == nullptr ? nullptr : error_string(code);
  return fmt::format("{}: {} (error {})", function, words == nullptr ? "failed" : words, code);
}

int Nvml::Api::read_processes(NvmlCard gpu, std::vector<GpuProcess>& out) const {
  if (processes == nullptr) return kFunctionNotFound;
  size_t room = 32;
  int code = kInsufficientSize;
  // Processes come and go between two calls; on a machine where they come faster than this, the
  // caller asks again later.
  for (int tries = 0; tries < 8 && code == kInsufficientSize; ++tries) {
    std::vector<unsigned char> buffer(room * kLargestRecord, kUnwritten);
    auto listed = static_cast<unsigned>(room);
    code = processes(gpu, &listed, buffer.data());
    if (code == kSuccess) out = read_records(buffer, std::min<size_t>(listed, room));
    constexpr size_t kMostProcesses = 1 << 20;
    room = std::min(std::max<size_t>(2 * room, size_t{listed} + 16), kMostProcesses);
  }
  return code;
}

GpuStatus Nvml::Api::read_card(unsigned index) const {
  GpuStatus out;
  out.index = static_cast<int>(index);
  const auto good = [&](const char* function, int code) {
    if (code != kSuccess && out.problem.empty()) out.problem = text(function, code);
    return code == kSuccess;
  };
  NvmlCard gpu = nullptr;
  if (!good("nvmlDeviceGetHandleByIndex_v2", card(index, &gpu))) return out;
  std::array<char, kTextBytes + 1> words{};  // ends with a 0 whatever the library does
  if (good("nvmlDeviceGetUUID", uuid(gpu, words.data(), kTextBytes))) out.uuid = words.data();
  words.fill(0);
  if (good("nvmlDeviceGetName", name(gpu, words.data(), kTextBytes))) out.name = words.data();
  NvmlMemory bytes{};
  if (good("nvmlDeviceGetMemoryInfo", memory(gpu, &bytes))) {
    out.total_bytes = static_cast<size_t>(bytes.total);
    out.free_bytes = static_cast<size_t>(bytes.free);
    out.used_bytes = static_cast<size_t>(bytes.used);
  }
  // Not every card tells these two, e.g. one that is cut into MIG instances; that is no fault.
  const auto unknown = [](int code) { return code == kNotSupported || code == kFunctionNotFound; };
  NvmlUtilisation percent{};
  int code = utilisation == nullptr ? kFunctionNotFound : utilisation(gpu, &percent);
  if (!unknown(code) && good("nvmlDeviceGetUtilizationRates", code)) {
    out.utilisation_percent = static_cast<int>(std::min(percent.gpu, 100u));
  }
  code = read_processes(gpu, out.processes);
  if (!unknown(code)) good("nvmlDeviceGetComputeRunningProcesses", code);
  return out;
}

std::unique_ptr<Nvml> Nvml::open(const std::string& library, std::string* why_not) {
  const auto no = [&](std::string reason) {
    if (why_not != nullptr) *why_not = std::move(reason);
    return nullptr;
  };
  auto api = std::make_unique<const Api>(library);
  if (!api->library) {
    const char* const reason = dlerror();
    return no(reason == nullptr ? library + ": cannot be opened" : reason);
  }
  if (const char* const function = api->missing()) {
    return no(fmt::format("{}: has no function {}", library, function));
  }
  if (const int code = api->init(); code != kSuccess) {
    return no(fmt::format("{}: {}", library, api->text("nvmlInit_v2", code)));
  }
  return std::unique_ptr<Nvml>(new Nvml(std::move(api)));
}

Nvml::Nvml(std::unique_ptr<const Api> api) : api_(std::move(api)) {}

Nvml::~Nvml() { api_->shutdown(); }

std::vector<GpuStatus> Nvml::gpus() const {
  unsigned count = 0;
  if (const int code = api_->count(&count); code != kSuccess) {
    fail(ErrorCode::kUnavailable, "NVIDIA GPUs: expected their number, got {}",
         api_->text("nvmlDeviceGetCount_v2", code));
  }
  std::vector<GpuStatus> out;
  for (unsigned index = 0; index < count; ++index) out.push_back(api_->read_card(index));
  return out;
}

std::string Nvml::driver_version() const {
  std::array<char, kTextBytes + 1> out{};
  const bool good =
      api_->driver_version != nullptr && api_->driver_version(out.data(), kTextBytes) == kSuccess;
  return good ? out.data() : "";
}

int Nvml::cuda_version() const {
  int out = 0;
  return api_->cuda_version != nullptr && api_->cuda_version(&out) == kSuccess ? out : 0;
}

}  // namespace tamis
