#include "io/safetensors_writer.h"

#include <cstring>

#include "base/fail.h"
#include "io/json_writer.h"

namespace tamis::io {

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const std::vector<TensorEntry>& entries,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  std::string header;
  JsonWriter json(header);
  json.begin_object();
  json.key("__metadata__").begin_object();
  for (const auto& [key, value] : metadata) json.key(key).string(value);
  json.end_object();
  size_t at = 0;
  for (const TensorEntry& entry : entries) {
    const size_t bytes = static_cast<size_t>(element_count(entry.shape)) * size_of(entry.dtype);
    json.key(entry.name).begin_object().key("dtype").string(name_of(entry.dtype));
    json.key("shape").begin_array();
    for (int64_t n : entry.shape) json.integer(n);
    json.end_array().key("data_offsets").begin_array();
    json.unsigned_integer(at).unsigned_integer(at + bytes).end_array().end_object();
    at += bytes;
  }
  json.end_object();
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data is aligned
  const uint64_t size = header.size();
  file_.append(std::as_bytes(std::span(&size, 1)));
  file_.append(header);
  expected_ = file_.size() + at;
}

void SafetensorsWriter::finish() {
  if (file_.size() != expected_) {
    fail(ErrorCode::kInternal, "safetensors: expected {} bytes, got {}", expected_, file_.size());
  }
  file_.finish();
}

}  // namespace tamis::io
