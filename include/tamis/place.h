#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/device.h"

namespace tamis {

class ModelEngine;

struct MoveOptions {
  std::string dtype;                         ///< "" = as it is; else "f32", "f16", "bf16", "int8"
  std::optional<int> threads;                ///< none given: as it is
  std::optional<size_t> memory_limit_bytes;  ///< none given: as it is
  std::optional<size_t> batch_tokens;        ///< none given: as it is
};

/// What waits for a model, and runs, at this moment.
struct ModelLoad {
  size_t calls = 0;
  size_t waiting_sequences = 0;
  size_t waiting_tokens = 0;
  size_t running_batches = 0;
};

/// Where a loaded model is. The checkpoint stays on the host, mapped from its files; replicas of it
/// are made from there on the devices that the user names.
/// Thread rule: any thread, also while the model works.
class ModelPlace {
 public:
  explicit ModelPlace(ModelEngine& engine) : engine_(engine) {}

  /// Moves the model: "cuda:0", "cpu", "sim:0,sim:1", "auto", as LoadOptions::device. Calls that
  /// run go on, and none is lost; where the new place and the old one have no room beside each
  /// other they wait (MoveReport::pause_ms). Two moves take turns. If it fails, the model stays.
  /// Errors: invalid_argument (no such device: lists those that exist), resource_exhausted (does
  /// not fit: needed, available, and what would fit), unimplemented, unavailable, data_loss (a
  /// weight that a 16-bit dtype cannot hold).
  MoveReport to(std::string_view devices, const MoveOptions& options = {});
  /// What `to` was last given, without devices that have failed: "cpu", "sim:0,sim:1".
  std::string device() const;
  /// Each replica, with where its bytes are as the device itself says.
  std::vector<Placement> placement() const;
  ModelLoad load() const;
  /// Runs made-up batches on every replica, so that the first request finds memory, threads and
  /// caches ready. Bounded in time: see WarmupOptions::limit_ms.
  std::vector<WarmupResult> warmup(const WarmupOptions& options = {});
  /// Gives the memory of batches back until the next one; returns the bytes.
  size_t trim();

 private:
  ModelEngine& engine_;
};

}  // namespace tamis
