// The only file that knows the concrete backends.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backend/cpu/cpu_device.h"
#include "backend/ref/ref_device.h"
#include "base/fail.h"
#include "device/device.h"

namespace tamis {

std::unique_ptr<Device> make_device(std::string_view name, const DeviceOptions& options) {
  if (name == "cpu") return make_cpu_device(options);
  if (name == "ref") return make_ref_device();
  fail(ErrorCode::kInvalidArgument, "no device \"{}\"; this build has: {}", name,
       fmt::join(device_names(), ", "));
}

std::vector<std::string> device_names() { return {"cpu", "ref"}; }

}  // namespace tamis
