#include "io/npy.h"

#include <fmt/format.h>

namespace tamis::io {

std::string npy_header(bool half, size_t rows, size_t columns) {
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(kNpyHeaderBytes - 10);
  text += '\0';
  text += fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}), }}",
                      half ? "<f2" : "<f4", rows, columns);
  text.resize(kNpyHeaderBytes - 1, ' ');
  return text + '\n';
}

}  // namespace tamis::io
