#include "device/device.h"

#include <sys/mman.h>

#include "base/fail.h"

namespace tamis {

FloatBuffer::FloatBuffer(size_t count) : size_(count) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (count == 0) return;
  const size_t alignment = bytes() >= kHugePage ? kHugePage : 64;
  const size_t rounded = (bytes() + alignment - 1) / alignment * alignment;
  data_.reset(static_cast<float*>(std::aligned_alloc(alignment, rounded)));
  if (!data_) fail(ErrorCode::kResourceExhausted, "cannot allocate {} bytes", bytes());
  // A gigabyte of weights in 4 KiB pages costs 300,000 faults at load and TLB misses ever after.
  if (alignment == kHugePage) madvise(data_.get(), rounded, MADV_HUGEPAGE);
}

}  // namespace tamis
