// Whatever the bytes, parse_safetensors gives views inside the file or an Error.

#include <cstdint>
#include <cstdlib>

#include "io/checkpoint.h"
#include "tamis/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  try {
    size_t covered = 0;
    for (const tamis::TensorView& tensor : tamis::io::parse_safetensors(file, "fuzz")) {
      const auto count = tamis::element_count(tensor.shape);
      if (count < 0 || tensor.bytes.size() != static_cast<size_t>(count) * size_of(tensor.dtype)) {
        std::abort();
      }
      if (tensor.bytes.data() < file.data() || tensor.bytes.size() > size ||
          tensor.bytes.data() + tensor.bytes.size() > file.data() + size) {
        std::abort();
      }
      covered += tensor.bytes.size();
    }
    if (covered > size) std::abort();  // so they do not overlap
  } catch (const tamis::Error& error) {
    if (error.code() != tamis::ErrorCode::kDataLoss) std::abort();
  }
  return 0;
}
