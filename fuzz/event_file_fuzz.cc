// Whatever the bytes of a file of events, what is kept of them is a beginning, and all of it is
// kept when it is read again; a later last step keeps no less.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "io/event_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  size_t before = 0;
  for (const int64_t last_step : {int64_t{0}, int64_t{7}, INT64_MAX}) {
    const tamis::io::EventPrefix kept = tamis::io::events_until(file, last_step);
    if (kept.bytes > size || kept.bytes < before) std::abort();
    const auto again = tamis::io::events_until(file.substr(0, kept.bytes), last_step);
    if (again.bytes != kept.bytes || again.has_steps != kept.has_steps) std::abort();
    before = kept.bytes;
  }
  return 0;
}
