#include "io/foreign.h"

#include <algorithm>

#include "base/fail.h"

namespace tamis::io {

std::filesystem::path path_inside(const std::filesystem::path& directory, std::string_view relative,
                                  std::string_view where, std::string_view what) {
  const std::filesystem::path path(relative);
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (relative.empty() || relative.find('\0') != relative.npos || path.is_absolute() || climbs) {
    fail(ErrorCode::kDataLoss, "{}: {}: expected a path inside the model directory, got \"{}\"",
         where, what, printable(relative));
  }
  return directory / path;
}

void refuse_lfs_pointer(std::span<const std::byte> file, std::string_view where) {
  constexpr std::string_view kStart = "version https://git-lfs";
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with(kStart)) {
    fail(ErrorCode::kDataLoss,
         "{}: expected the weights, got a git-lfs pointer of {} bytes: run `git lfs pull`, or "
         "download the file itself",
         where, file.size());
  }
}

void refuse_duplicate_names(const std::vector<TensorView>& tensors, std::string_view where) {
  const auto twin =
      std::adjacent_find(tensors.begin(), tensors.end(),
                         [](const TensorView& a, const TensorView& b) { return a.name == b.name; });
  if (twin != tensors.end()) {
    fail(ErrorCode::kDataLoss, "{}: tensor \"{}\": expected once, got twice", where, twin->name);
  }
}

std::string printable(std::string_view text) {
  constexpr size_t kMax = 80;
  std::string out(text.substr(0, kMax));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > kMax) out += "...";
  return out;
}

}  // namespace tamis::io
