#pragma once

// What a model directory holds, as the engine sees it: the architecture, and ONE table of the
// tensors that it needs. Loading, checking, `inspect` and the memory plan all read this table.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "batch/packed_batch.h"
#include "io/checkpoint.h"
#include "io/model_config.h"
#include "numeric/activation.h"
#include "numeric/quantization.h"
#include "numeric/tensor_view.h"
#include "tamis/model.h"
#include "tamis/types.h"

namespace tamis {

/// Everything about a model but its weights.
struct ModelSpec {
  std::filesystem::path directory;
  std::string architecture;  ///< as config.json names it, e.g. "BertModel"
  io::ModelConfig config;
  ModelKind kind = ModelKind::kEmbedder;
  Activation activation = Activation::kGelu;
  Pooling pooling = Pooling::kCls;  ///< kCls of a cross-encoder: its head reads the first token
  bool normalize = false;
  bool sparse_head = false;       ///< BGE-M3's sparse_linear is there
  int64_t colbert_dimension = 0;  ///< of BGE-M3's colbert_linear; 0 = it is not there
  PositionRule positions;
  size_t max_length = 0;          ///< tokens that the position table has room for
  size_t default_max_length = 0;  ///< sentence_bert_config.json's, else 512, never above max_length
};

/// Errors: not_found, data_loss (from the readers of src/io); unimplemented (architecture,
/// activation, position embedding or pooling that is not supported: says which are).
ModelSpec read_spec(const std::filesystem::path& directory, const LoadOptions& options);

/// Notes which of BGE-M3's heads the checkpoint of an embedder has, beside or inside its own files.
void find_token_heads(ModelSpec& spec, const io::Checkpoint& checkpoint);

/// A place in the model for one tensor.
enum class Slot {
  kWords,
  kPositions,
  kTypes,
  kEmbeddingGamma,
  kEmbeddingBeta,
  kQueryWeight,
  kQueryBias,
  kKeyWeight,
  kKeyBias,
  kValueWeight,
  kValueBias,
  kAttentionWeight,
  kAttentionBias,
  kAttentionGamma,
  kAttentionBeta,
  kUpWeight,
  kUpBias,
  kDownWeight,
  kDownBias,
  kOutputGamma,
  kOutputBeta,
  kHeadDenseWeight,
  kHeadDenseBias,
  kHeadOutWeight,
  kHeadOutBias,
  kLmDenseWeight,
  kLmDenseBias,
  kLmGamma,
  kLmBeta,
  kLmDecoderWeight,
  kLmDecoderBias,
  kSparseWeight,
  kSparseBias,
  kColbertWeight,
  kColbertBias,
};

struct SlotSpec {
  Slot slot;
  int64_t layer;     ///< 0 for slots outside the layers
  std::string name;  ///< of the tensor, without the prefix of the encoder
  bool in_encoder;   ///< named below the prefix ("roberta.", "bert." or none)
  Shape shape;
  std::optional<Slot> or_else = {};  ///< whose tensor it shares if there is none of its own
};

/// The table. Every tensor in it must be there; every other tensor of the checkpoint is ignored.
std::vector<SlotSpec> tensor_table(const ModelSpec& spec);

/// A weight of a layer that is stored as int8, without its values, which stay in the mapped file
/// (int8_checkpoint.h).
struct Int8Weight {
  InputQuantization input;
  std::vector<float> scale;     ///< [out]
  std::vector<float> outliers;  ///< [out, outlier columns]
};

/// The tensors of a checkpoint in their slots.
class ModelTensors {
 public:
  /// Errors: data_loss listing every missing tensor, wrong shape and unusable dtype at once.
  ModelTensors(const ModelSpec& spec, const io::Checkpoint& checkpoint, const LogSink& log);

  const TensorView& at(Slot slot, int64_t layer = 0) const;
  bool has(Slot slot, int64_t layer = 0) const;
  bool uses(const TensorView& tensor) const;
  /// What belongs to a weight that is stored as int8; null for all others.
  const Int8Weight* int8(const TensorView& tensor) const;
  /// Whether the checkpoint has int8 weights: `tamis quantize` wrote it.
  bool quantized() const { return !int8_.empty(); }
  int64_t elements() const { return elements_; }

 private:
  struct Entry {
    Slot slot;
    int64_t layer;
    const TensorView* tensor;
  };
  std::vector<Entry> entries_;
  std::map<const TensorView*, Int8Weight> int8_;
  int64_t elements_ = 0;
};

}  // namespace tamis
