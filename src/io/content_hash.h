#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace tamis::io {

/// Runs task(i) for i in [0, count), perhaps at the same time.
using RunTasks = std::function<void(size_t count, const std::function<void(size_t)>& task)>;

/// XXH3 (64 bits) over the XXH3 of each 4 MiB, so that several threads may share the work. Finds
/// damage and change, not malice.
uint64_t content_hash(std::span<const std::byte> bytes, const RunTasks& run = {});

std::string hash_text(uint64_t hash);  ///< "xxh3:0123456789abcdef"

}  // namespace tamis::io
