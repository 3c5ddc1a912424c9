#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "tamis/embedder.h"

namespace tamis::cli {

/// Inner products of a query with all rows.
std::vector<double> similarities(std::span<const float> query, const Embeddings& rows);

/// Numbers of the k largest, the best first, ties by number.
std::vector<size_t> best_of(std::span<const double> scores, size_t k);

}  // namespace tamis::cli
