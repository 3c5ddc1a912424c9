#pragma once

// Lines of training data that a command completes and writes out again, one for each that it reads.

#include <cstddef>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace tamis::cli {

/// {"query", "pos", "neg", ...}; what else a line has stays with it.
struct TrainingLine {
  std::string where;  ///< "data.jsonl:7", for messages
  std::string text;
  std::string query;
  std::vector<std::string> positives, negatives;
};

/// `neg` may be missing where `negatives_wanted` is false. Errors: data_loss (the line, the field).
TrainingLine parse_training_line(std::string_view line, const std::string& where,
                                 bool negatives_wanted);

/// What takes a field's place; the text is JSON.
struct Replacement {
  std::string field;
  std::string json;
};
/// The line with these fields, in their old places or at its end.
std::string with_fields(const TrainingLine& line, const std::vector<Replacement>& fields);

/// A file of lines that grows as they are done, so that a run that was ended goes on behind the
/// last whole one.
class GrowingFile {
 public:
  /// Errors: invalid_argument (the file is there and `resume` is not asked for), unavailable.
  GrowingFile(const std::string& path, bool resume);
  size_t lines() const { return lines_; }  ///< that are there
  /// Errors: resource_exhausted.
  void add(const std::string& lines);

 private:
  std::string path_;
  std::ofstream file_;
  size_t lines_ = 0;
};

}  // namespace tamis::cli
