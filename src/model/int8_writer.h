#pragma once

// Writes a model directory with int8 weights (int8_checkpoint.h has the format of the tensors), and
// reads what such a directory says of itself: tamis.json.

#include <filesystem>
#include <string>
#include <vector>

#include "model/weights.h"

namespace tamis {

/// A file that a quantised directory was made from.
struct SourceFile {
  std::string name;  ///< within the source directory
  size_t bytes = 0;
  int64_t modified_ns = 0;
  std::string hash;  ///< "xxh3:...", of the content
};

/// tamis.json of a quantised directory.
struct Int8Manifest {
  static constexpr int64_t kFormat = 1;  ///< of the tensors and of this file
  std::string tamis_version;
  std::filesystem::path source;  ///< absolute
  std::vector<SourceFile> source_files;
  size_t calibration_sequences = 0;
  size_t calibration_tokens = 0;
  std::vector<std::string> left_alone;  ///< weights that stay in 16 bits
  size_t outlier_columns = 0;           ///< of all layers
};

/// Layers whose input errs by more than this share of itself in 8 bits stay in f16.
constexpr float kMaxInputError = 0.05f;

/// Writes config, tokenizer and all else that is small as it is, weights of the layers as int8, the
/// word table in 16 bits, everything else as it is stored, and tamis.json last. Fills left_alone,
/// outlier_columns, source and its hashes.
/// Errors: invalid_argument (`out` is there and not an empty directory, or is the source; the model
/// is quantised already), unavailable, resource_exhausted (disk full: nothing stays).
void write_int8_model(const HostModel& model, const ModelQuantization& quantization,
                      const std::filesystem::path& out, Int8Manifest& manifest);

/// What tamis.json of `directory` says; checks it, if it is there.
/// Errors: data_loss (damaged), unimplemented (another format: run tamis quantize again),
/// invalid_argument (the source is where it was and has changed: run it again).
void check_int8_manifest(const std::filesystem::path& directory);

}  // namespace tamis
