#pragma once

// A model in training: forward over a packed batch, and backward to the gradients of its
// parameters.

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "batch/packed_batch.h"
#include "train/activations.h"
#include "train/parameters.h"

namespace tamis::training {

/// Rates of dropout [config.json].
struct DropoutRates {
  float hidden = 0;
  float attention = 0;
  float classifier = 0;
};

/// A sub-batch: its sequences, and what makes dropout the same wherever a sequence stands.
struct TrainBatch {
  PackedBatch packed;
  std::vector<int32_t> numbers;  ///< [sequences]: of the sequence in its step
  uint64_t seed = 0;             ///< of run and step
  bool dropout = true;
};

struct NetworkOptions {
  DropoutRates dropout;
  CheckpointPolicy policy;
  bool token_heads = false;  ///< BGE-M3's, which the model then has
  std::chrono::milliseconds timeout = std::chrono::minutes(30);
};

/// What a model gives for a sub-batch, before any norm; or the gradients of that.
struct NetworkOutput {
  std::vector<float> vectors;        ///< [sequences, outputs]: logits, or pooled vectors
  std::vector<float> token_weights;  ///< [tokens], before relu; of BGE-M3's heads alone
  std::vector<float> token_vectors;  ///< [tokens, colbert_dimension]
};

/// The passes of a model over its parameters. The order of calls is forward, then backward of the
/// same batch. Thread rule: one thread at a time.
class Network {
 public:
  /// Errors: unimplemented (the device does not train).
  Network(const ModelSpec& spec, Parameters& parameters, std::shared_ptr<Device> device,
          std::shared_ptr<Stream> stream, std::shared_ptr<MemoryAccount> account,
          const NetworkOptions& options);
  /// Waits for what is queued: parameters and activations go after it.
  ~Network();

  int64_t outputs() const;
  /// Bytes that batches up to this many tokens, sequences and tokens of a sequence need.
  size_t bytes_for(int64_t tokens, int64_t sequences, int64_t longest) const;
  /// Errors: resource_exhausted.
  void reserve(int64_t tokens, int64_t sequences, int64_t longest);
  /// `keep`: a backward follows. Errors: as reserve and Stream::synchronize.
  NetworkOutput forward(const TrainBatch& batch, bool keep);
  /// Adds to the gradients of all that trains. Errors: as Stream::synchronize, but never
  /// resource_exhausted: half of the gradients have been added then, and it must not run again.
  void backward(const NetworkOutput& d_outputs);

  const ModelSpec& spec() const { return spec_; }
  TrainOps& ops() const { return ops_; }
  Stream& stream() const { return *stream_; }
  /// Looks at each layer from now on, for first_not_finite.
  void watch(bool on);
  /// Where numbers first were not finite since watch(true); "" = nowhere.
  const std::string& first_not_finite() const { return not_finite_; }
  void set_policy(const CheckpointPolicy& policy) { options_.policy = policy; }

 private:
  struct OnDevice {
    BatchView view;
    const uint32_t* noise_rows = nullptr;
    const int32_t* rows = nullptr;        ///< of each sequence: that which its head reads
    const uint32_t* row_noise = nullptr;  ///< the noise rows of those
    const int32_t* host_cu_seqlens = nullptr;
  };
  /// Places in the model where dropout is.
  enum class Site : uint32_t {
    kEmbeddings,
    kProbabilities,
    kAttentionOut,
    kFeedForward,
    kHeadIn,
    kHeadOut
  };
  Dropout dropout(Site site, int64_t layer = 0) const;
  Dropout adapter_dropout(const Adapter& adapter) const;
  ActivationShape shape(int64_t tokens, int64_t sequences) const;
  TrainShape train_shape(int64_t tokens, int64_t longest) const;

  void upload(const TrainBatch& batch);
  TrainAttention attention(const LayerRecord& record, int64_t layer) const;
  void linear(const Linear& w, ConstMat x, Mat y);
  /// The adapter's input: x after dropout of its own.
  ConstMat adapter_input(const Adapter& adapter, ConstMat x);
  /// Of the adapter: scaled A x, [tokens, rank].
  Mat low_rank(const Adapter& adapter, ConstMat input);
  void adapter_backward(const Adapter& adapter, ConstMat x, ConstMat d_y, Mat d_x);
  /// d_x (+)= d_y W, unless d_x.data is null; gradients of W and b.
  void linear_backward(const Linear& w, ConstMat x, ConstMat d_y, bool accumulate, Mat d_x);
  void norm_backward(const Norm& norm, ConstMat d_y, ConstMat x, const float* stats, Mat d_x);

  void run_embeddings();
  void embeddings_output(Mat to);  ///< dropout(LayerNorm(sum)), from what is kept
  void embeddings_backward();
  void run_attention(int64_t layer, const LayerParameters& w, const LayerRecord& r, ConstMat x);
  /// From hidden() to hidden(); all that the record has room for is kept.
  void run_layer(int64_t layer);
  /// gradient() of the layer's output becomes that of its input.
  void layer_backward(int64_t layer);
  /// The input of a layer, computed again where it is not kept.
  ConstMat input_of(int64_t layer);
  void run_segment(int64_t segment);

  void add_gradients(const NetworkOutput& d_outputs);
  NetworkOutput run_head();
  std::vector<float> run_classifier();
  std::vector<float> pool();
  void classifier_backward(std::span<const float> d_logits);
  void pool_backward(std::span<const float> d_vectors);
  /// BGE-M3's heads: the rest of the gradient of the last layer's output.
  void token_heads_backward(const NetworkOutput& d_outputs);
  std::vector<float> download(ConstMat m);
  void look_at(ConstMat m, const std::string& where);

  ModelSpec spec_;
  Parameters& parameters_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<MemoryAccount> account_;
  Activations activations_;  // before the stream: what is queued goes first
  std::shared_ptr<Stream> stream_;
  TrainOps& ops_;
  NetworkOptions options_;
  std::vector<int32_t> staged_;
  OnDevice batch_;
  uint64_t seed_ = 0;
  bool drop_ = false;
  bool watched_ = false;
  std::string not_finite_;
  int64_t kept_segment_ = -1;  ///< whose records hold what forward left
};

}  // namespace tamis::training
