#include "nearest.h"

#include <algorithm>
#include <numeric>

#include "tamis/similarity.h"

namespace tamis::cli {

std::vector<double> similarities(std::span<const float> query, const Embeddings& rows) {
  std::vector<double> out;
  out.reserve(rows.count);
  for (size_t i = 0; i < rows.count; ++i) out.push_back(dot_product(query, rows.row(i)));
  return out;
}

std::vector<size_t> best_of(std::span<const double> scores, size_t k) {
  std::vector<size_t> out(scores.size());
  std::iota(out.begin(), out.end(), size_t{0});
  k = std::min(k, out.size());
  std::partial_sort(
      out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k), out.end(),
      [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  out.resize(k);
  return out;
}

}  // namespace tamis::cli
