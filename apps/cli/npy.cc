#include "npy.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "arguments.h"
#include "io/npy.h"
#include "tamis/error.h"

namespace tamis::cli {

NpyWriter::NpyWriter(Output& output, bool half) : output_(output), half_(half) {
  // Not a pipe, nor what already holds something: the header belongs at the very beginning.
  const int flags = ::fcntl(output.descriptor(), F_GETFL);
  if (::lseek(output.descriptor(), 0, SEEK_CUR) != 0 || (flags & O_APPEND) != 0) {
    throw UsageError("--format npy needs a file of its own, for its header is written last",
                     "give one with --output");
  }
  output.buffer() += io::npy_header(half_, 0, 0);
}

void NpyWriter::append(std::string& out, std::span<const float> row) {
  columns_ = row.size();
  ++rows_;
  if (!half_) {
    out.append(reinterpret_cast<const char*>(row.data()), row.size_bytes());
    return;
  }
  for (const float value : row) {
    const auto narrow = static_cast<_Float16>(value);
    char bytes[sizeof narrow];
    std::memcpy(bytes, &narrow, sizeof narrow);
    out.append(bytes, sizeof narrow);
  }
}

void NpyWriter::finish() {
  output_.flush();
  const std::string text = io::npy_header(half_, rows_, columns_);
  if (::pwrite(output_.descriptor(), text.data(), text.size(), 0) !=
      static_cast<ssize_t>(text.size())) {
    throw Error(ErrorCode::kUnavailable, "cannot write the header of the npy file");
  }
}

}  // namespace tamis::cli
