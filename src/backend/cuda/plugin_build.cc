#include "backend/cuda/plugin.h"

namespace tamis {

// The number goes up with every change of Device, Stream, Event, Ops or what their functions take.
const char* const kCudaPluginBuild = "tamis " TAMIS_VERSION ", seam 1";

}  // namespace tamis
