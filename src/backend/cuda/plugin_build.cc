#include "backend/cuda/plugin.h"

namespace tamis {

const char* const kCudaPluginBuild = "tamis " TAMIS_BUILD;

}  // namespace tamis
