#include "io/inside.h"

#include <algorithm>

#include "base/fail.h"

namespace tamis::io {

std::filesystem::path path_inside(const std::filesystem::path& directory, std::string_view relative,
                                  std::string_view where, std::string_view what) {
  const std::filesystem::path path(relative);
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (relative.empty() || relative.find('\0') != relative.npos || path.is_absolute() || climbs) {
    fail(ErrorCode::kDataLoss, "{}: {}: expected a path inside the model directory, got \"{}\"",
         where, what, relative);
  }
  return directory / path;
}

}  // namespace tamis::io
