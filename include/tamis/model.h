#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tamis/types.h"

namespace tamis {

enum class ModelKind {
  kCrossEncoder,  ///< a classification head scores (query, passage) pairs
  kEmbedder,      ///< token vectors are pooled; reranks by cosine
};

/// What a model is; the same for a loaded model and for a described directory.
struct ModelInfo {
  std::filesystem::path directory;
  std::string architecture;  ///< "XLMRobertaForSequenceClassification"
  ModelKind kind = ModelKind::kCrossEncoder;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  size_t max_length = 0;            ///< tokens that one sequence may have, special ones included
  std::vector<std::string> labels;  ///< of the classification head, by index
  std::string pooling;              ///< embedders: "cls", "mean", "last" or "splade"
  bool normalize = false;           ///< embedders: vectors are scaled to length 1
  bool sparse = false;              ///< embedders: lexical weights, of BGE-M3 or SPLADE
  int64_t colbert_dimension = 0;    ///< embedders: of BGE-M3's token vectors; 0 = none
  int64_t parameters = 0;           ///< elements of all tensors that the model uses
};

struct TensorInfo {
  std::string name;
  std::string dtype;  ///< as stored: "F32", "F16", "BF16", "I64", ...
  std::vector<int64_t> shape;
  size_t bytes = 0;
  std::string file;  ///< name within the model directory
  bool used = true;  ///< false: ignored by this architecture
};

/// Bytes that a placement takes; known before anything is allocated. Of several devices: the sum.
struct MemoryPlan {
  std::string device;          ///< "cpu", "sim:0,sim:1"
  size_t mapped_bytes = 0;     ///< word table that stays in the file, whose rows are read when used
  size_t weight_bytes = 0;     ///< converted and packed weights
  size_t workspace_bytes = 0;  ///< activations, indices and scratch for batch_tokens
  size_t batch_tokens = 0;
  size_t free_bytes = 0;  ///< of the device when it was described; 0 of a loaded model
  size_t total_bytes = 0;
};

struct ModelDescription {
  ModelInfo info;
  std::vector<TensorInfo> tensors;  ///< sorted by name
  std::string dtype;                ///< that LoadOptions::dtype comes to
  MemoryPlan plan;                  ///< of the first device
  std::vector<MemoryPlan> plans;    ///< of each
};

/// Reads and checks a model directory without loading it. The plan is for batches of batch_tokens
/// (0 = the default of the device). Errors: as Reranker::load.
ModelDescription describe_model(const std::filesystem::path& directory,
                                const LoadOptions& options = {}, size_t batch_tokens = 0);

}  // namespace tamis
