#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "io/checkpoint.h"
#include "model/outputs.h"
#include "model/spec.h"

namespace tamis {

/// A checkpoint that was read and checked, on the host: mapped files and what each tensor is for.
/// Immutable; every placement of the model is made from it, and it touches no device.
struct HostModel {
  /// Errors: those of Checkpoint::open, ModelTensors and check_int8_manifest.
  static std::shared_ptr<const HostModel> open(const ModelSpec& spec, const LogSink& log);

  ModelSpec spec;
  io::Checkpoint checkpoint;
  ModelTensors tensors;

  /// Numbers that the model gives for a sequence: its labels, its hidden size, or (SPLADE) its
  /// vocabulary.
  int64_t output_size() const;
  /// Errors: invalid_argument (the model has no such output, or not so many dimensions).
  OutputLayout layout(const Outputs& outputs) const;
  /// All that there is.
  OutputLayout widest_layout() const;
};

struct LayerWeights {
  // Queries apart from keys and values: the last layer needs queries of a few rows only.
  PackedLinear query;          ///< [hidden, hidden]
  PackedLinear key_value;      ///< [2 hidden, hidden]
  PackedLinear attention_out;  ///< [hidden, hidden]
  PackedLinear up;             ///< [intermediate, hidden]
  PackedLinear down;           ///< [hidden, intermediate]
  LayerNormWeights attention_norm;
  LayerNormWeights output_norm;
};

/// The weights of one model on one device, in one buffer. Immutable; replicas whose memory is the
/// same share them. Where the device's memory is the host's, the word table stays in its file
/// (embeddings.words is null).
struct ModelWeights {
  std::shared_ptr<const HostModel> host;
  DType dtype = DType::kF32;  ///< storage of the linear layers
  Buffer buffer;
  EmbeddingWeights embeddings;
  std::vector<LayerWeights> layers;
  PackedLinear head_dense;  ///< cross-encoders: tanh(dense(first token))
  PackedLinear head_out;    ///< cross-encoders: [labels, hidden]
  PackedLinear lm_dense;    ///< SPLADE: gelu(dense(x)), normalised, then the decoder
  LayerNormWeights lm_norm;
  PackedLinear lm_decoder;  ///< SPLADE: [vocab, hidden]
  PackedLinear sparse;      ///< BGE-M3: [1, hidden]
  PackedLinear colbert;     ///< BGE-M3: [colbert_dimension, hidden]

  const ModelSpec& spec() const { return host->spec; }
};

/// How the inputs of one layer's linear layers are quantised.
struct LayerQuantization {
  InputQuantization attention;  ///< of query, key and value
  InputQuantization context;    ///< of attention_out
  InputQuantization up;
  InputQuantization down;
};

/// For each layer. Found by calibrate (calibration.h); its size follows from the model's.
using ModelQuantization = std::vector<LayerQuantization>;

/// Bytes of the buffer that place_weights will allocate; nothing is allocated.
size_t weight_bytes(const HostModel& model, const Device& device, DType dtype);

/// The embeddings alone, and one layer alone, in a buffer of their own.
std::shared_ptr<const ModelWeights> place_embeddings(std::shared_ptr<const HostModel> model,
                                                     Device& device, Stream& stream,
                                                     const std::shared_ptr<MemoryAccount>& account,
                                                     std::chrono::milliseconds timeout);
struct PlacedLayer {
  Buffer buffer;
  LayerWeights weights;
};
PlacedLayer place_layer(const HostModel& model, int64_t layer, Device& device, Stream& stream,
                        DType dtype, const std::shared_ptr<MemoryAccount>& account,
                        std::chrono::milliseconds timeout);

/// From the bytes of the buffer that place_weights made of the same model, for the same dtype and
/// DeviceInfo::packed_form; `owner` keeps them. Errors: resource_exhausted (the account's limit).
std::shared_ptr<const ModelWeights> place_packed(std::shared_ptr<const HostModel> model,
                                                 Device& device, DType dtype,
                                                 std::shared_ptr<const void> owner,
                                                 std::span<const std::byte> packed,
                                                 const std::shared_ptr<MemoryAccount>& account);

/// Converts, checks, packs and uploads. Pages of the file are given back as soon as they are
/// packed, so that source and result are never in memory together.
/// `quantization` is for int8 and may be null: inputs are quantised as they are.
/// Errors: data_loss (NaN or Inf, or too large for dtype: named), resource_exhausted, unavailable.
std::shared_ptr<const ModelWeights> place_weights(std::shared_ptr<const HostModel> model,
                                                  Device& device, Stream& stream, DType dtype,
                                                  const ModelQuantization* quantization,
                                                  const std::shared_ptr<MemoryAccount>& account,
                                                  std::chrono::milliseconds timeout);

}  // namespace tamis
