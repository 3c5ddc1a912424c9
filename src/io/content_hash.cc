#include "io/content_hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tamis::io {

uint64_t content_hash(std::span<const std::byte> bytes, const RunTasks& run) {
  constexpr size_t kBlock = size_t{4} << 20;
  std::vector<uint64_t> blocks((bytes.size() + kBlock - 1) / kBlock);
  const auto hash = [&](size_t i) {
    const auto block = bytes.subspan(i * kBlock, std::min(kBlock, bytes.size() - i * kBlock));
    blocks[i] = XXH3_64bits(block.data(), block.size());
  };
  if (run) {
    run(blocks.size(), hash);
  } else {
    for (size_t i = 0; i < blocks.size(); ++i) hash(i);
  }
  blocks.push_back(bytes.size());
  return XXH3_64bits(blocks.data(), blocks.size() * sizeof(uint64_t));
}

std::string hash_text(uint64_t hash) { return fmt::format("xxh3:{:016x}", hash); }

}  // namespace tamis::io
