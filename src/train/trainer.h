#pragma once

// The loop: data to gradients to steps, with plans, checkpoints and reports.

#include <functional>
#include <memory>
#include <stop_token>
#include <utility>

#include "base/host.h"
#include "device/device.h"
#include "model/model_directory.h"
#include "model/weights.h"
#include "tamis/train.h"
#include "text/tokenizer.h"
#include "train/batches.h"
#include "train/collective.h"
#include "train/dataset.h"
#include "train/losses.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/parameters.h"
#include "train/state.h"

namespace tamis::training {

/// What a run is made of. All outlives the trainer.
struct TrainerParts {
  std::shared_ptr<const HostModel> source;
  ModelSpec spec;  ///< of what is trained: the source's own, or with a new head
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<Device> device;
  const HostProbe* host = nullptr;
  std::shared_ptr<Collective> collective = std::make_shared<Alone>();  ///< of the run's devices
  size_t devices_here = 1;  ///< of them those of this process
};

/// The model that training makes of a source: a bare encoder becomes a cross-encoder with one
/// logit. Errors: invalid_argument (a reranker as an embedder).
ModelSpec training_spec(const ModelSpec& source, const TrainOptions& options);

/// Whether BGE-M3's two heads train.
bool trains_token_heads(const TrainOptions& options);

class Trainer {
 public:
  /// Reads data and weights. Errors: as train().
  Trainer(const TrainerParts& parts, const TrainOptions& options);
  /// Files and events are rank 0's.
  TrainReport run(const TrainEvents& events, std::stop_token stop);

 private:
  struct Epochs {
    size_t micro_batches = 0;  ///< of an epoch
    int64_t steps = 0;         ///< of an epoch
    int64_t total = 0;         ///< steps in all
  };
  /// The longest batch and the distinct words of the first batches of the run.
  struct Sample {
    size_t tokens = 0, sequences = 0, longest = 0, batches = 0;
    double words = 0;  ///< rows of the word table that the whole run is reckoned to touch
  };

  Epochs count_steps() const;
  // plan.cc
  Sample sample() const;
  /// Chooses checkpointing and sub-batches for the limit; fills in the plan.
  TrainPlan make_plan();
  size_t state_bytes(const Sample& sample) const;
  /// For a run whose device has `used` bytes of it; the user's, or what a card has.
  size_t memory_limit(size_t used) const;
  std::string fingerprint() const;

  const Batch& batch_at(int64_t epoch, size_t micro_batch) const;
  Sequences sequences_of(const Batch& batch, int64_t epoch) const;
  // step.cc
  /// This device's share of the loss of a micro-batch, times `weight`; gradients are added.
  double run_micro_batch(const Sequences& all, double weight);
  double run_groups(const Sequences& s, double weight);
  /// Of this device's sequences alone, or with the passages of `all` devices.
  double run_contrast(const Sequences& s, const Sequences& all, double weight);
  double contrast_of_all(const Sequences& s, const Sequences& all, const NetworkOutput& out,
                         double weight, NetworkOutput& d) const;
  NetworkOutput gather_outputs(const NetworkOutput& mine, const Sequences& all) const;
  NetworkOutput own_part(const NetworkOutput& all_outputs, const Sequences& all) const;
  /// Groups [first, second) of a micro-batch.
  std::pair<size_t, size_t> share_of(size_t groups, int rank) const;
  /// The arrays of a NetworkOutput, and how many of their floats some sequences have.
  using FloatCounts = std::vector<
      std::pair<std::vector<float> NetworkOutput::*, std::function<size_t(size_t, size_t)>>>;
  FloatCounts float_counts(const Sequences& s) const;
  /// The same gradients on all devices: the sums of theirs.
  void sum_gradients();
  void sum_on_devices();
  void sum_through_host();
  void touch_rows_of_all();
  /// The loss on all outputs of a micro-batch times `weight`, and its gradients.
  double contrast(const Sequences& s, const NetworkOutput& out, double weight,
                  NetworkOutput& d) const;
  /// Calls f(begin, end) for parts of `units` that fit the budget; a part that there is no memory
  /// for is halved. f throws resource_exhausted before it has done anything.
  void in_parts(const Sequences& s, size_t units, size_t sequences_of_unit,
                const std::function<void(size_t, size_t)>& f);
  TrainBatch batch_of(const Sequences& s, size_t begin, size_t end) const;
  /// All micro-batches of a step: gradients, and the loss of all devices.
  double run_batches(int64_t step, size_t& tokens);
  /// Where the first number that is not finite comes from.
  std::string find_not_finite(int64_t step);
  /// network_.backward with gradients as large as f16 wants them.
  void backward(NetworkOutput& d);
  /// Whether f16 could not hold the gradients; the scale follows.
  bool overflowed(const TrainStep& step);
  TrainStep run_step(int64_t step);
  // trainer.cc
  void choose_precision();
  /// So that gradients are added up where they lie, if the devices can.
  void join_devices();
  /// Whether a rank was told to stop.
  bool any_stops(bool stops);
  /// The directory is there, without another run's checkpoints, and has room.
  void prepare_output(const TrainPlan& plan) const;
  DiskNeed disk_need(const TrainPlan& plan) const;
  /// Reads the checkpoint, if asked to, and sees to it that all ranks begin alike.
  void resume();
  /// The run of a rank that writes nothing.
  TrainReport follow(TrainReport report, std::stop_token stop);

  TrainerParts parts_;
  TrainOptions options_;
  Dataset data_;
  Tokenize tokenize_;
  Epochs epochs_;
  Schedule schedule_;
  ContrastiveOptions contrast_;
  std::vector<int32_t> special_ids_;  ///< without lexical weight: cls, eos, pad, unk
  std::shared_ptr<MemoryAccount> account_;
  std::shared_ptr<Stream> stream_;
  Parameters parameters_;
  Network network_;
  Buffer word_rows_;  ///< gradients of the step's rows of the word table, for rank_sum_
  std::unique_ptr<RankSum> rank_sum_;
  DType product_dtype_ = DType::kF32;
  uint64_t source_hash_ = 0;  ///< of the weights that adapters are beside
  size_t state_bytes_ = 0;    ///< gradients and moments of one device, as planned
  size_t budget_ = 0;         ///< tokens of a sub-batch
  mutable int64_t ordered_epoch_ = -1;
  mutable std::vector<Batch> batches_;  ///< of that epoch
  // Of the step that runs.
  uint64_t step_seed_ = 0;
  int32_t first_number_ = 0;
  RunState state_;
};

}  // namespace tamis::training
