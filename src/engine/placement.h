#pragma once

// From device names to a plan: which replica goes where, what it takes, and whether that fits.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device_set.h"
#include "model/weights.h"
#include "tamis/model.h"

namespace tamis {

struct PlacementOptions {
  std::string isa;  ///< of a cpu; "" = the best
  int threads = 0;  ///< of all cpu replicas together; 0 = one for each usable core
  DType dtype = DType::kF32;
  size_t batch_tokens = 0;                   ///< 0 = what suits each device
  std::optional<size_t> memory_limit_bytes;  ///< of this model on each device
  std::filesystem::path packed_cache;        ///< where packed weights are kept; "" = nowhere
  int timeout_ms = 120000;                   ///< after which a device that does not answer failed
};

/// One replica to be.
struct PlannedReplica {
  std::shared_ptr<Device> device;
  StreamOptions stream;
  size_t batch_tokens = 0;
  size_t workspace_bytes = 0;
};

/// What one device must hold.
struct PlannedDevice {
  std::shared_ptr<Device> device;
  size_t weight_bytes = 0;
  std::vector<StreamOptions> streams;  ///< of its replicas
  size_t workspace_bytes = 0;          ///< of all of them
  size_t batch_tokens = 0;
  size_t needed() const { return weight_bytes + workspace_bytes; }
};

struct PlacementPlan {
  std::vector<PlannedReplica> replicas;
  std::vector<PlannedDevice> devices;  ///< each once
  std::string reason;                  ///< of auto
};

/// Opens the devices and computes what is needed; allocates nothing.
/// Errors: those of DeviceSet::open; invalid_argument (threads).
PlacementPlan plan_placement(const HostModel& model, DeviceSet& devices,
                             const std::vector<DeviceName>& names, const PlacementOptions& options);

/// Refuses a device's part of the plan that does not fit: resource_exhausted, with what is needed
/// and available and what would fit. in_use: by this model there now and staying; freed: what it
/// will have given back before.
void check_fits(const HostModel& model, const PlannedDevice& plan, const PlacementOptions& options,
                size_t in_use, size_t freed);

/// The same as a list for people and programs.
MemoryPlan memory_plan(const HostModel& model, const PlannedDevice& plan);

/// "f32", "f16", "bf16", "int8". Errors: invalid_argument.
DType parse_dtype(std::string_view text);
/// The way back, in lower case.
std::string dtype_text(DType dtype);

}  // namespace tamis
