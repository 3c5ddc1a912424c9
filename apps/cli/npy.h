#pragma once

// Vectors in NumPy's file format.

#include <cstddef>
#include <span>
#include <string>

#include "output.h"

namespace tamis::cli {

/// A matrix that is written a row at a time; its header comes last, when the rows are counted.
class NpyWriter {
 public:
  /// Rows of f32, or of f16 if `half`. Errors: UsageError (the output is a pipe, or is appended
  /// to).
  NpyWriter(Output& output, bool half);

  /// All rows have as many numbers as the first.
  void append(std::string& out, std::span<const float> row);
  /// After the last row; before Output::finish.
  void finish();

 private:
  Output& output_;
  bool half_;
  size_t rows_ = 0;
  size_t columns_ = 0;
};

}  // namespace tamis::cli
