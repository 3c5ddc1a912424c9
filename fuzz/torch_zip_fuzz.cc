// Whatever the bytes, parse_torch_zip gives views inside the file or an Error. The same bytes are
// also run as a bare pickle: a mutated archive seldom keeps a directory that leads to one.

#include <cstdint>
#include <cstdlib>

#include "io/checkpoint.h"
#include "io/unpickle.h"
#include "tamis/error.h"

namespace {

void read_archive(std::span<const std::byte> file) {
  for (const tamis::TensorView& tensor : tamis::io::parse_torch_zip(file, "fuzz")) {
    const auto count = tamis::element_count(tensor.shape);
    if (count < 0 || tensor.bytes.size() != static_cast<size_t>(count) * size_of(tensor.dtype)) {
      std::abort();
    }
    if (tensor.bytes.data() < file.data() || tensor.bytes.size() > file.size() ||
        tensor.bytes.data() + tensor.bytes.size() > file.data() + file.size()) {
      std::abort();
    }
  }
}

template <class Read>
void expect_error_or_result(const Read& read) {
  try {
    read();
  } catch (const tamis::Error& error) {
    if (error.code() != tamis::ErrorCode::kDataLoss &&
        error.code() != tamis::ErrorCode::kUnimplemented) {
      std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  expect_error_or_result([&] { read_archive(file); });
  expect_error_or_result([&] { tamis::io::unpickle_tensors(file, "fuzz"); });
  return 0;
}
