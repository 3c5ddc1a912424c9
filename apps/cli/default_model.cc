#include "default_model.h"

#include <cstdlib>
#include <vector>

#include <fmt/format.h>
#include "notices.h"

namespace tamis::cli {
namespace {

namespace fs = std::filesystem;

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::vector<fs::path> places(std::string_view name) {
  std::vector<fs::path> out;
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    // <tree>/build/<preset>/tamis
    const fs::path tree = executable.parent_path().parent_path().parent_path();
    out.push_back(tree / ".cache" / "models" / name);
  }
  if (const char* cache = setting("XDG_CACHE_HOME")) {
    out.push_back(fs::path(cache) / "tamis" / "models" / name);
  } else if (const char* home = setting("HOME")) {
    out.push_back(fs::path(home) / ".cache" / "tamis" / "models" / name);
  }
  return out;
}

}  // namespace

fs::path find_model(const std::string& given, std::string_view name) {
  if (!given.empty()) return given;
  if (const char* model = setting("TAMIS_MODEL")) {
    if (is_folder(model)) return model;
    throw HintedError(ErrorCode::kNotFound, fmt::format("{}: no such folder", model),
                      "$TAMIS_MODEL names it; unset it, or give --model DIR");
  }
  std::string looked;
  for (const fs::path& place : places(name)) {
    if (is_folder(place)) return place;
    looked += fmt::format("\nnot there: {}", place.string());
  }
  throw HintedError(
      ErrorCode::kNotFound,
      fmt::format("no model given, and the default one, {}, was not found{}", name, looked),
      "run ./run model in the source tree, or give --model DIR, or set $TAMIS_MODEL");
}

}  // namespace tamis::cli
