#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/placement.h"
#include "engine/scheduler.h"
#include "tamis/device.h"

namespace tamis {

/// One model in service: the checkpoint on the host, and replicas of it on devices.
/// Thread rule: any thread; moves take turns.
class ModelEngine {
 public:
  ModelEngine(std::shared_ptr<const HostModel> model, std::shared_ptr<DeviceSet> devices,
              LogSink log, std::function<void(const BatchReport&)> on_batch = {});
  ~ModelEngine();

  /// Puts replicas on these devices in place of those that there are, while calls go on: the new
  /// ones are built beside the old ones where memory allows, otherwise the old ones are drained and
  /// freed first and calls wait. If the move fails, the model stays (or goes back) where it was.
  /// Errors: those of plan_placement and place_weights; resource_exhausted (does not fit: nothing
  /// was changed).
  MoveReport place(std::string_view devices, const PlacementOptions& options);
  /// The options of the last successful place.
  PlacementOptions options() const;

  /// What int8 of a model that nobody calibrated is calibrated on, asked for when it is needed;
  /// none: ids drawn at random. Before the first place.
  void set_sample(std::function<PackedBatch()> sample) { sample_ = std::move(sample); }

  /// As Scheduler::run. Errors also: those of HostModel::layout.
  RunResult run(std::span<const SequenceView> sequences, const RunOptions& options);
  std::vector<WarmupResult> warmup(const WarmupOptions& options);
  size_t trim() { return scheduler_.trim(); }
  ModelLoad load() const { return scheduler_.load(); }

  const HostModel& model() const { return *model_; }
  std::vector<Placement> placement() const { return scheduler_.placement(); }
  /// "cpu", "sim:0,sim:1": in service.
  std::string device() const;
  MemoryPlan plan() const;

 private:
  using Replicas = std::vector<std::shared_ptr<Replica>>;
  Replicas build(const PlacementPlan& plan, const PlacementOptions& options);
  std::shared_ptr<MemoryAccount> account(Device& device, const PlacementOptions& options);
  std::shared_ptr<const ModelWeights> weights(const std::shared_ptr<Device>& device, Stream& stream,
                                              const PlacementOptions& options);
  std::shared_ptr<const ModelWeights> make_weights(Device& device, Stream& stream,
                                                   const PlacementOptions& options);
  /// From the packed cache, or made and stored there.
  std::shared_ptr<const ModelWeights> cached_weights(Device& device, Stream& stream,
                                                     const PlacementOptions& options);
  /// Of a model whose weights are not int8 already; found once.
  std::shared_ptr<const ModelQuantization> quantization(const PlacementOptions& options);
  void replace_beside(const PlacementPlan& plan, const PlacementOptions& options,
                      MoveReport& report);
  void replace_after(const PlacementPlan& plan, const PlacementOptions& options,
                     MoveReport& report);
  bool fits(const PlacementPlan& plan, const PlacementOptions& options, bool beside) const;
  void note_shapes(std::span<const SequenceView> sequences);

  std::shared_ptr<const HostModel> model_;
  std::shared_ptr<DeviceSet> devices_;
  LogSink log_;
  std::function<PackedBatch()> sample_;

  mutable std::mutex move_mutex_;  // one move at a time
  mutable std::mutex mutex_;       // of what follows
  std::string names_;
  PlacementOptions options_;
  MemoryPlan plan_;
  std::map<size_t, size_t> seen_;  // tokens, in powers of two -> most sequences in one call
  std::map<const Device*, std::weak_ptr<MemoryAccount>> accounts_;
  std::map<std::pair<const Device*, DType>, std::weak_ptr<const ModelWeights>> weights_;
  std::shared_ptr<const ModelQuantization> quantization_;

  Scheduler scheduler_;
};

}  // namespace tamis
