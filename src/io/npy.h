#pragma once

#include <cstddef>
#include <string>

namespace tamis::io {

inline constexpr size_t kNpyHeaderBytes = 128;

/// The header of a matrix of f32 (or f16 if `half`) in NumPy's file format 1.0
/// [numpy.lib.format]: always kNpyHeaderBytes, so that it can be written again when the rows have
/// been counted. The rows follow it.
std::string npy_header(bool half, size_t rows, size_t columns);

}  // namespace tamis::io
