#include "tamis/similarity.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "kernels/kernels.h"

namespace tamis {
namespace {

const kernels::KernelTable& best_table() { return *kernels::supported_tables().front(); }

/// Aligned to 64 bytes, as packed panels must be.
class PanelBuffer {
 public:
  explicit PanelBuffer(size_t floats) : values_(floats + 16) {}
  float* data() {
    const auto address = reinterpret_cast<uintptr_t>(values_.data());
    return values_.data() + (64 - address % 64) % 64 / sizeof(float);
  }

 private:
  std::vector<float> values_;
};

void require_same_size(size_t a, size_t b) {
  if (a != b) {
    fail(ErrorCode::kInvalidArgument, "vectors of {} and {} numbers have no product", a, b);
  }
}

std::vector<std::pair<int32_t, float>> by_id(const SparseVector& v) {
  std::vector<std::pair<int32_t, float>> out;
  for (size_t i = 0; i < v.ids.size(); ++i) out.emplace_back(v.ids[i], v.weights[i]);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

double lexical_score(const SparseVector& a, const SparseVector& b) {
  const auto left = by_id(a), right = by_id(b);
  double sum = 0;
  for (auto x = left.begin(), y = right.begin(); x != left.end() && y != right.end();) {
    if (x->first == y->first) {
      sum += static_cast<double>((x++)->second) * (y++)->second;
    } else if (x->first < y->first) {
      ++x;
    } else {
      ++y;
    }
  }
  return sum;
}

// The passage's vectors become a packed weight, a panel at a time, so that the products are those
// of the GEMM: a panel of nr vectors is read once for all of the query's.
double colbert_score(const TokenVectorsView& query, const TokenVectorsView& passage) {
  require_same_size(query.dimension, passage.dimension);
  if (query.count() == 0 || passage.count() == 0) {
    fail(ErrorCode::kInvalidArgument,
         "MaxSim needs vectors on both sides; got {} of the query and {} of the passage",
         query.count(), passage.count());
  }
  const kernels::KernelTable& table = best_table();
  const auto rows = static_cast<int64_t>(query.count());
  const auto k = static_cast<int64_t>(query.dimension);
  const int64_t nr = table.nr;
  PanelBuffer panel(static_cast<size_t>(nr * k));
  std::vector<float> scratch(table.gemm_scratch(rows, k));
  const std::vector<float> bias(static_cast<size_t>(nr), 0.0f);
  std::vector<float> products(static_cast<size_t>(rows * nr));
  std::vector<float> best(query.count(), -std::numeric_limits<float>::infinity());
  std::vector<kernels::StoredRow> vectors(static_cast<size_t>(nr));
  for (size_t first = 0; first < passage.count(); first += static_cast<size_t>(nr)) {
    const size_t count = std::min(static_cast<size_t>(nr), passage.count() - first);
    for (size_t i = 0; i < vectors.size(); ++i) {
      const float* row = passage.values.data() + (first + i) * passage.dimension;
      vectors[i] = {i < count ? reinterpret_cast<const std::byte*>(row) : nullptr, DType::kF32};
    }
    auto* packed = reinterpret_cast<std::byte*>(panel.data());
    table.pack_panel(vectors.data(), k, DType::kF32, packed);
    table.gemm({query.values.data(), k, rows, k, packed, DType::kF32, bias.data(), nr, 0, 1,
                Activation::kNone, products.data(), nr},
               scratch.data());
    for (size_t r = 0; r < best.size(); ++r) {
      const float* row = products.data() + r * static_cast<size_t>(nr);
      best[r] = std::max(best[r], *std::max_element(row, row + count));
    }
  }
  double sum = 0;
  for (float x : best) sum += static_cast<double>(x);
  return sum / static_cast<double>(best.size());
}

double dot_product(std::span<const float> a, std::span<const float> b) {
  require_same_size(a.size(), b.size());
  return static_cast<double>(best_table().dot(a.data(), b.data(), static_cast<int64_t>(a.size())));
}

}  // namespace tamis
