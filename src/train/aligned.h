#pragma once

#include <cstdint>

namespace tamis::training {

/// Of f32 numbers in one buffer each piece begins at 64 bytes: what a piece takes.
constexpr int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

}  // namespace tamis::training
