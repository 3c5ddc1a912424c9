#pragma once

// Hugging Face's truncation strategies for pairs, on ids [tokenizers utils/truncation.rs].
// `room` is what the template leaves of max_length.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tamis::text {

/// longest_first: the longer text gives until both are equal, then both share the room evenly; an
/// odd token goes to the longer one (to b where they are equal).
void truncate_longest_first(std::vector<int32_t>& a, std::vector<int32_t>& b, size_t room);

/// only_second: b gives alone. Returns false, and cuts nothing, if b would have no token left.
bool truncate_only_second(const std::vector<int32_t>& a, std::vector<int32_t>& b, size_t room);

}  // namespace tamis::text
