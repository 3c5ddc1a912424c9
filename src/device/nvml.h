#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tamis {

struct GpuProcess {
  int64_t pid = 0;   ///< as the driver counts: inside a container that may be the host's number
  size_t bytes = 0;  ///< of the card's memory; 0 if unknown
  std::string name;  ///< the command that has this pid here; "" if none has
};

/// One NVIDIA card now. What a failed query would have told is 0, empty or -1.
struct GpuStatus {
  int index = 0;     ///< NVML's, by place on the bus; CUDA may count otherwise, so compare uuid
  std::string uuid;  ///< "GPU-..."
  std::string name;
  size_t total_bytes = 0;
  size_t free_bytes = 0;
  size_t used_bytes = 0;              ///< by all processes, and what the driver keeps for itself
  int utilisation_percent = -1;       ///< of the last sample period; -1: unknown
  std::vector<GpuProcess> processes;  ///< that compute
  std::string problem;                ///< of the first query that failed; "" if all is well
};

/// The library that comes with NVIDIA's driver.
inline constexpr const char* kNvmlLibrary = "libnvidia-ml.so.1";

/// NVIDIA's management library, opened at run time: what the cards are and hold, without a CUDA
/// context and so without taking any of their memory.
/// Thread rule: the const methods may be called from many threads at once.
class Nvml {
 public:
  /// `library` is a name that the dynamic linker finds, or a path. Null if there is no such
  /// library, it lacks a function, or it finds no driver; `why_not`, if given, then says which.
  static std::unique_ptr<Nvml> open(const std::string& library = kNvmlLibrary,
                                    std::string* why_not = nullptr);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  /// Every card of the machine, those that do not answer too. CUDA_VISIBLE_DEVICES does not count.
  /// Errors: unavailable if not even their number can be had.
  std::vector<GpuStatus> gpus() const;

  std::string driver_version() const;  ///< "535.104.05"; "" if unknown

  /// The newest CUDA that the driver supports, 1000 × major + 10 × minor; 0 if unknown.
  int cuda_version() const;

 private:
  struct Api;
  explicit Nvml(std::unique_ptr<const Api> api);
  std::unique_ptr<const Api> api_;
};

}  // namespace tamis
