#pragma once

// The tensors of a model in training: values in f32 on one device, and what AdamW keeps of those
// that train.

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "model/weights.h"
#include "train/lora.h"

namespace tamis::training {

/// What of a model trains.
struct Freeze {
  bool words = false;              ///< the word table
  bool positions = false;          ///< the position table [FlagEmbedding: fix_position_embedding]
  int64_t layers = 0;              ///< all embeddings and so many layers from the bottom
  bool encoder = false;            ///< all but the heads [FlagEmbedding: fix_encoder]
  bool token_heads_train = false;  ///< BGE-M3's; where no loss sees them, weight decay must not
  LoraConfig lora;                 ///< adapters and heads train, nothing else
};

/// sparse_linear and colbert_linear of BGE-M3.
bool is_token_head(Slot slot);

/// What a parameter is to its slot: the tensor itself, or a half of its adapter.
enum class Role {
  kTensor,
  kLoraA,  ///< [rank, in]
  kLoraB,  ///< [out, rank]
};

struct Parameter {
  Slot slot = Slot::kWords;
  int64_t layer = 0;
  Role role = Role::kTensor;
  std::string name;  ///< in the checkpoint
  Shape shape;
  int64_t size = 0;
  bool decays = true;  ///< weight decay: neither biases nor LayerNorm [transformers.Trainer]
  float* value = nullptr;
  float* gradient = nullptr;  ///< null: frozen; and so the moments
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  bool trains() const { return gradient != nullptr; }
};

/// B A of a part of a product's columns, and its gradients.
struct Adapter {
  int64_t begin = 0;  ///< the first of those columns
  ConstMat a;         ///< [rank, in]
  ConstMat b;         ///< [columns, rank]
  Mat d_a, d_b;
  uint32_t site = 0;  ///< for dropout: its own among all adapters
};

/// W [out, in] and b [out], and their gradients, which are null where it is frozen.
struct Linear {
  int64_t out = 0;
  int64_t in = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float* d_weight = nullptr;
  float* d_bias = nullptr;
  std::vector<Adapter> adapters;
  ConstMat matrix() const { return {weight, out, in}; }
  Mat d_matrix() const { return {d_weight, out, in}; }
};

struct Norm {
  LayerNormWeights weights;
  float* d_gamma = nullptr;
  float* d_beta = nullptr;
};

struct LayerParameters {
  Linear query_key_value;  ///< stacked on out
  Linear attention_out;
  Linear up;
  Linear down;
  Norm attention_norm;
  Norm output_norm;
};

/// The word table is a case of its own: a step touches few of its rows. In memory of the host,
/// gradients and moments of the others stay pages that nobody has written, so that they take none;
/// on a device that has its own they are there in full.
class Parameters {
 public:
  /// Reads the tensors of `spec` from the model; a head that the checkpoint lacks (a bare encoder
  /// becomes a reranker) is drawn from N(0, initializer_range) with `seed`, its biases 0. The
  /// stream must outlive this.
  /// Errors: data_loss (NaN or Inf: named), unimplemented (int8 weights, SPLADE, what has no
  /// training), resource_exhausted.
  Parameters(const HostModel& model, const ModelSpec& spec, const Freeze& freeze, uint64_t seed,
             Device& device, Stream& stream, const std::shared_ptr<MemoryAccount>& account);

  std::span<Parameter> all() { return parameters_; }
  std::span<const Parameter> all() const { return parameters_; }
  const Parameter& at(Slot slot, int64_t layer = 0, Role role = Role::kTensor) const;
  bool has(Slot slot, int64_t layer = 0, Role role = Role::kTensor) const {
    return find(slot, layer, role) != nullptr;
  }
  const LoraConfig& lora() const { return lora_; }
  /// The lowest layer that has something to learn; the number of layers if none has.
  int64_t lowest_trained() const { return lowest_trained_; }

  EmbeddingWeights embeddings() const;
  Norm norm(Slot gamma, Slot beta, int64_t layer = 0) const;
  Linear linear(Slot weight, Slot bias, int64_t layer = 0) const;
  LayerParameters layer(int64_t i) const;

  /// Of the bits of all values: the same for the same weights on every device.
  uint64_t hash();
  int64_t trained() const;  ///< numbers that train
  int64_t count() const;    ///< numbers in all

  /// Of all that trains but the word table.
  std::span<float> gradients() const { return {gradients_, static_cast<size_t>(gradient_count_)}; }
  /// Rows of the word table that had a gradient at some time, ascending.
  std::span<const int32_t> touched_rows() const { return touched_.ids; }
  std::span<const int32_t> step_rows() const { return step_rows_.ids; }  ///< and in this step
  /// What of a parameter has a gradient in this step (or had one ever), as ops take it: all, or
  /// rows of the word table.
  Rows rows_of(const Parameter& p, bool ever);
  /// Notes the rows that the next backward writes to.
  void touch(std::span<const int32_t> ids);
  /// Gradients of the step back to 0.
  void zero_gradients(TrainOps& ops);
  /// After a resume: rows whose moments are not 0.
  void set_touched(std::vector<int32_t> rows) { touched_.set(std::move(rows)); }

 private:
  /// Rows of the word table, ascending; and a copy of them where ops cannot read the host's memory.
  struct RowList {
    std::vector<int32_t> ids;
    int32_t* on_device = nullptr;  ///< room for all rows; null: ops read ids itself
    bool changed = false;          ///< since they went to the device
    void set(std::vector<int32_t> rows) {
      ids = std::move(rows);
      changed = true;
    }
  };
  const Parameter* find(Slot slot, int64_t layer, Role role = Role::kTensor) const;
  void add_adapters(int64_t first_layer);
  Linear layer_linear(Slot weight, Slot bias, int64_t layer) const;
  void add_adapter(Slot slot, int64_t layer, int64_t begin, Linear& to) const;
  void allocate(Device& device, const std::shared_ptr<MemoryAccount>& account, bool words_train);
  void fill(const HostModel& model, const std::vector<const TensorView*>& tensors,
            double initializer_range, uint64_t seed);

  std::vector<Parameter> parameters_;
  LoraConfig lora_;
  int64_t lowest_trained_ = 0;
  int64_t hidden_ = 0;
  int64_t vocab_ = 0;
  float eps_ = 0;
  Stream& stream_;
  Buffer values_, states_, words_state_, row_ids_;
  float* gradients_ = nullptr;  ///< of all but the word table, one after the other
  int64_t gradient_count_ = 0;
  Buffer no_types_;  ///< a row of zeros for models without token types
  RowList touched_, step_rows_;
};

}  // namespace tamis::training
