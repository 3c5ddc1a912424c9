#pragma once

// Names and form of an index on disk; what writer and reader must agree on.

#include <cstdint>

namespace tamis {

inline constexpr int64_t kIndexFormat = 1;
inline constexpr const char* kIndexManifest = "index.json";
inline constexpr const char* kIndexDense = "dense.npy";
inline constexpr const char* kIndexPassages = "passages.jsonl";
inline constexpr const char* kIndexPassageOffsets = "passages.offsets";
inline constexpr const char* kIndexSparseOffsets = "sparse.offsets";
inline constexpr const char* kIndexSparsePassages = "sparse.passages";
inline constexpr const char* kIndexSparseWeights = "sparse.weights";

}  // namespace tamis
