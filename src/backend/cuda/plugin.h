#pragma once

// How the engine reaches the CUDA backend: a library that is opened when somebody names a device of
// it, so that nothing else needs CUDA to start. It has its own copy of the code below src/backend,
// and gives the engine objects of the seam (device/device.h). So both must come from one build.

#include <memory>
#include <string>
#include <string_view>

#include "device/device.h"

namespace tamis {

struct CudaOptions {
  bool graphs = false;                ///< small batches are queued as CUDA graphs
  bool plain_attention = false;       ///< never the tensor cores' own kernel
  std::string nccl = "libnccl.so.2";  ///< opened when several cards train one model
};

/// "graphs=on,attention=plain,nccl=FILE"; "" = none of them. Errors: invalid_argument.
CudaOptions parse_cuda_options(std::string_view text);

/// What the library's one function gives.
struct CudaPlugin {
  const char* build;  ///< must be kCudaPluginBuild of whoever opens it
  int cuda_version;   ///< that a driver must know: 1000 × major + 10 × minor
  std::shared_ptr<Device> (*make_device)(int index, const CudaOptions& options);
};
inline constexpr const char* kCudaPluginSymbol = "tamis_cuda_plugin";
using CudaPluginFunction = const CudaPlugin*();

/// Version of Tamis, and a hash of the headers whose classes cross between the two.
extern const char* const kCudaPluginBuild;

/// Opens the library: a path, or "" for the one that is installed or built beside this program or
/// library. It stays open for good, since its objects may live as long. Errors: unimplemented
/// (there is none, it cannot be opened, or it is of another build: says which and where it was
/// sought).
const CudaPlugin& open_cuda_plugin(const std::string& path);

}  // namespace tamis
