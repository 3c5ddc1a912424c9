#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "backend/cuda/plugin.h"
#include "base/fail.h"

namespace tamis {
namespace {

constexpr const char* kLibrary = "libtamis_cuda.so";

/// Beside the program or library that this code is in, where a build leaves it; in lib/ as it is
/// installed; above it, where both are for a Python package; then wherever the dynamic linker
/// looks.
std::vector<std::string> places() {
  std::vector<std::string> out;
  Dl_info here{};
  std::error_code error;
  if (dladdr(reinterpret_cast<const void*>(&open_cuda_plugin), &here) != 0) {
    const auto self = std::filesystem::canonical(here.dli_fname, error);
    if (!error) {
      const auto folder = self.parent_path();
      const auto above = folder.parent_path().parent_path();
      for (const auto& place : {folder, folder.parent_path() / "lib", above, above.parent_path()}) {
        if (std::filesystem::exists(place / kLibrary, error)) out.push_back(place / kLibrary);
      }
    }
  }
  out.emplace_back(kLibrary);
  return out;
}

}  // namespace

CudaOptions parse_cuda_options(std::string_view text) {
  CudaOptions out;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(std::min(text.size(), comma + 1));
    if (part == "graphs=on" || part == "graphs=off") {
      out.graphs = part == "graphs=on";
    } else if (part == "attention=plain" || part == "attention=fused") {
      out.plain_attention = part == "attention=plain";
    } else if (part.starts_with("nccl=") && part.size() > 5) {
      out.nccl = part.substr(5);
    } else {
      fail(ErrorCode::kInvalidArgument,
           "cuda options: expected graphs=on|off, attention=fused|plain or nccl=FILE, got \"{}\"",
           part);
    }
  }
  return out;
}

const CudaPlugin& open_cuda_plugin(const std::string& path) {
  void* library = nullptr;
  std::string problems;
  for (const std::string& place : path.empty() ? places() : std::vector{path}) {
    library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library != nullptr) break;
    const char* problem = dlerror();
    problems += fmt::format("{}{}", problems.empty() ? "" : "; ", problem);
  }
  if (library == nullptr) {
    fail(ErrorCode::kUnimplemented, "the CUDA plug-in cannot be opened: {}", problems);
  }
  auto* const function = reinterpret_cast<CudaPluginFunction*>(dlsym(library, kCudaPluginSymbol));
  const CudaPlugin* plugin = function != nullptr ? (*function)() : nullptr;
  const std::string build = plugin != nullptr ? plugin->build : "not the plug-in of Tamis";
  if (build != kCudaPluginBuild) {
    fail(ErrorCode::kUnimplemented,
         "the CUDA plug-in is of another build: expected \"{}\", got \"{}\"", kCudaPluginBuild,
         build);
  }
  return *plugin;
}

}  // namespace tamis
