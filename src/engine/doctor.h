#pragma once

// The parts of the examination. Each looks at one thing and adds what it finds; none prints, reads
// the environment or throws for what is wrong with the machine.

#include <optional>
#include <string>
#include <vector>

#include "base/host.h"
#include "device/device_set.h"
#include "engine/placement.h"
#include "tamis/device.h"
#include "tamis/doctor.h"

namespace tamis::doctor {

using Findings = std::vector<Finding>;

// ---- the machine (doctor_host.cc)

struct HostQuestions {
  std::string device = "cpu";     ///< as asked for
  std::string isa;                ///< as asked for
  int threads = 0;                ///< as asked for
  std::vector<std::string> isas;  ///< that there are, best first
  std::optional<std::string> omp_num_threads;
  CpuTimes before, after;  ///< of a moment in which Tamis did nothing
};

void examine_cpu(const HostProbe& host, const HostQuestions& questions, Findings& findings);
void examine_host_memory(const HostProbe& host, Findings& findings);

// ---- the devices (doctor_devices.cc)

struct DeviceQuestions {
  std::string device = "cpu";  ///< as asked for
  std::optional<std::string> cuda_visible_devices;
};

/// Numbers (of `gpus`) of the cards that a CUDA program sees with this setting, in CUDA's order if
/// that is the bus's: numbers and UUIDs up to the first that names no card; none: all.
std::vector<size_t> visible_gpus(const std::vector<GpuStatus>& gpus,
                                 const std::optional<std::string>& setting);

void examine_gpus(const DeviceSet& devices, const DeviceQuestions& questions, Findings& findings);
/// The devices that were asked for, if all can be used; else empty, and findings say why.
std::vector<DeviceName> examine_names(const DeviceSet& devices, const DeviceQuestions& questions,
                                      Findings& findings);

// ---- the model's place (doctor_memory.cc)

/// Whether the model fits everywhere. command: "tamis rerank --model DIR", for the advice.
bool examine_plan(const HostModel& model, DeviceSet& devices, const std::vector<DeviceName>& names,
                  const PlacementOptions& options, const std::string& command, Findings& findings);
/// asked: names as the plan resolved them.
void examine_placement(const std::vector<Placement>& placement,
                       const std::vector<std::string>& asked, Findings& findings);

// ---- speed (doctor_speed.cc)

struct TimedBatch {
  size_t sequences = 0;
  size_t tokens = 0;  ///< of each
  double ms = 0;
  size_t all_tokens() const { return sequences * tokens; }
  double tokens_per_s() const;
};

/// What was measured on one device; 0 and empty: it was not.
struct Speed {
  std::string device;
  size_t batch_tokens = 0;          ///< as asked for, or what suits the device
  TimedBatch tiny;                  ///< a few tokens
  TimedBatch small;                 ///< some times as many
  std::vector<TimedBatch> batches;  ///< of more and more tokens
  double tokenize_ms = 0;           ///< of one call with many pairs
  double inference_ms = 0;          ///< of the same call
  int threads = 0;                  ///< of a cpu
  double busy_cores = 0;  ///< core time of the process ÷ time, while the threads computed
  bool out_of_time = false;
};

/// command: as above, with its --device.
void judge_speed(const Speed& speed, const std::string& command, Findings& findings);

}  // namespace tamis::doctor
