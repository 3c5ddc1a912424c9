#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tamis {

/// Lexical weights of a text: token ids, each once, and a positive weight for each.
struct SparseVector {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

/// Vectors of tokens, one row each; not owned.
struct TokenVectorsView {
  std::span<const float> values;  ///< [count, dimension], row-major
  size_t dimension = 0;
  size_t count() const { return dimension == 0 ? 0 : values.size() / dimension; }
};

/// Sum over the ids that both have of the product of their weights, in f64 [FlagEmbedding
/// compute_lexical_matching_score].
double lexical_score(const SparseVector& a, const SparseVector& b);

/// MaxSim: the mean over the query's vectors of the largest dot product with one of the passage's
/// [FlagEmbedding colbert_score]. Takes the CPU's best instructions, on the calling thread.
/// Errors: invalid_argument (one of them is empty, or the dimensions differ).
double colbert_score(const TokenVectorsView& query, const TokenVectorsView& passage);

/// Errors: invalid_argument (the sizes differ).
double dot_product(std::span<const float> a, std::span<const float> b);

}  // namespace tamis
