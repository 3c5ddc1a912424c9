#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tamis/embedder.h"
#include "tamis/similarity.h"

namespace tamis {

/// A passage with the name that its owner knows it by.
struct Passage {
  std::string id;
  std::string text;
};

struct IndexOptions {
  bool dense = true;
  bool sparse = false;  ///< lexical weights, of BGE-M3 or SPLADE
  bool half = false;    ///< dense vectors are stored in f16
  std::string prefix;   ///< stands before each passage when it is embedded ("passage: ")
  EmbedOptions embed;   ///< max_length, batch_tokens, dimension, normalize of it
};

/// Embeds passages and writes them as a directory:
///   index.json         what it is, and the model
///   dense.npy          [passages, dimension], f32 or f16: for NumPy, FAISS, hnswlib as it is
///   passages.jsonl     {"id", "text"} of each row
///   passages.offsets   u64 [passages + 1], into passages.jsonl
///   sparse.*           postings by token id: offsets u64 [ids + 1], passages u32, weights f32
/// Dense vectors and texts need no memory, whatever their number; lexical weights 12 bytes each
/// until the end. Files appear when finish is called.
class IndexWriter {
 public:
  /// The embedder must live as long. Errors: invalid_argument (neither dense nor sparse; the
  /// directory is there and not empty), unavailable, and those of Embedder::embed.
  IndexWriter(const std::filesystem::path& directory, const Embedder& embedder,
              const IndexOptions& options);
  ~IndexWriter();

  void add(std::span<const Passage> passages, RunStats* stats = nullptr);
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct Hit {
  size_t place = 0;  ///< of the passage in the index
  float score = 0;
};

/// Exact search over an index in memory, its files mapped: enough for about a million passages.
/// Thread rule: const calls may run at the same time; they share the threads by turns.
class PassageIndex {
 public:
  /// Errors: not_found, data_loss (a file is damaged or does not fit index.json).
  static PassageIndex open(const std::filesystem::path& directory, int threads = 0);
  PassageIndex(PassageIndex&&) noexcept;
  PassageIndex& operator=(PassageIndex&&) noexcept;
  ~PassageIndex();

  size_t size() const;
  size_t dimension() const;  ///< 0 = it has no dense vectors
  bool has_sparse() const;
  const std::string& model() const;     ///< directory of the model that embedded the passages
  bool normalized() const;              ///< dense vectors have length 1
  std::string pooling() const;          ///< "" = the model's own
  Passage passage(size_t place) const;  ///< errors: data_loss

  /// The k best by dot product, best first, ties by place. Errors: invalid_argument (dimension).
  std::vector<Hit> search(std::span<const float> query, size_t k) const;
  /// The k best by shared lexical weights; passages that share none are left out.
  std::vector<Hit> search(const SparseVector& query, size_t k) const;
  /// The k best by dense_weight * dense + sparse_weight * sparse.
  std::vector<Hit> search(std::span<const float> dense, const SparseVector& sparse,
                          double dense_weight, double sparse_weight, size_t k) const;

 private:
  struct Impl;
  explicit PassageIndex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis
