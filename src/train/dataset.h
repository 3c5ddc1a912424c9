#pragma once

// FlagEmbedding's training data: JSON lines, checked once, then read as they are needed.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/file_map.h"
#include "tamis/train.h"

namespace tamis::training {

/// One line.
struct Example {
  std::string query;
  std::vector<std::string> positives;
  std::vector<std::string> negatives;
  std::vector<double> positive_scores;
  std::vector<double> negative_scores;
  std::string type;                         ///< "", "normal", "only_1neg", "symmetric_sts", ...
  std::optional<std::string> query_prompt;  ///< "query_prompt" (rerankers) or "prompt"
  std::optional<std::string> passage_prompt;
};

/// What is trained on of an example in one epoch: the positive passage first.
struct Group {
  std::string query;
  std::vector<std::string> passages;  ///< [train_group_size]
  std::vector<double> teacher;        ///< [train_group_size] or empty
};

/// Examples that are trained on together.
struct Batch {
  std::vector<uint32_t> examples;
  size_t group_size = 0;
  bool in_batch_negatives = true;
};

/// All lines of all files, in memory as the place where each begins. Immutable; any thread.
class Dataset {
 public:
  /// Reads every line. Errors: not_found (no such file, or a directory without data),
  /// data_loss (a line: file, number, field, what was expected and got), invalid_argument
  /// (formats).
  explicit Dataset(const TrainOptions& options);

  size_t size() const { return lines_.size(); }
  Example example(size_t i) const;
  /// Chosen by (seed, epoch, i) alone.
  Group group(size_t i, size_t group_size, uint64_t epoch) const;
  /// All examples in an order of (seed, epoch), in batches; with same_dataset_within_batch each of
  /// one file, whose rest is left out, and of the size that its type has
  /// [AbsEmbedderSameDatasetTrainDataset].
  std::vector<Batch> batches(uint64_t epoch) const;
  /// Changes with the data and with what decides its order.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  struct Line {
    uint32_t file;
    uint32_t number;  ///< from 1
    uint64_t begin;
    uint32_t bytes;
  };
  struct File {
    std::filesystem::path path;
    io::FileMap map;
    bool in_batch_negatives = true;  ///< false where the name of the data says so
    std::string type;                ///< of its first line
    uint32_t first_line = 0, lines = 0;
  };
  void add_file(const std::filesystem::path& path, bool in_batch_negatives);
  std::vector<Batch> mixed_batches(uint64_t epoch) const;
  std::vector<Batch> batches_by_file(uint64_t epoch) const;
  size_t batch_size(const File& file) const;
  size_t group_size(const File& file, std::span<const uint32_t> examples) const;
  Example read(const Line& line) const;

  TrainOptions options_;
  std::vector<File> files_;
  std::vector<Line> lines_;

  std::string fingerprint_;
};

/// Python's "{}{}".format(instruction, text) for formats with two {}. Errors: invalid_argument.
std::string apply_format(std::string_view format, std::string_view instruction,
                         std::string_view text);

}  // namespace tamis::training
