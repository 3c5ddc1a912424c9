#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/file_writer.h"
#include "numeric/tensor_view.h"

namespace tamis::io {

struct TensorEntry {
  std::string name;
  DType dtype;
  Shape shape;
};

/// A safetensors file, written front to back: the header is known before the data, which is then
/// appended tensor by tensor in the order of `entries`. Errors: as FileWriter.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorEntry>& entries,
                    const std::map<std::string, std::string>& metadata);
  void append(std::span<const std::byte> bytes) { file_.append(bytes); }
  /// Errors: internal (fewer or more bytes than the entries have).
  void finish();

 private:
  FileWriter file_;
  size_t expected_ = 0;
};

}  // namespace tamis::io
