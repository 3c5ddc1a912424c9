#include "base/fail.h"
#include "engine/placement.h"
#include "tamis/model.h"
#include "tamis/session.h"

namespace tamis {

ModelDescription describe_model(const std::filesystem::path& directory, const LoadOptions& options,
                                size_t batch_tokens) {
  const ModelSpec spec = read_spec(directory, options);
  const auto model = HostModel::open(spec, options.log);
  PlacementOptions placement = placement_options(options);
  settle_dtype(options, *model, placement);
  if (batch_tokens > 0) placement.batch_tokens = batch_tokens;
  const auto devices = device_set(options);
  const PlacementPlan plan =
      plan_placement(*model, *devices, parse_device_names(options.device), placement);
  if (!plan.reason.empty()) log_to(options.log, LogLevel::kInfo, "{}", plan.reason);
  ModelDescription out;
  out.info = make_info(*model);
  out.dtype = dtype_text(placement.dtype);
  for (const PlannedDevice& device : plan.devices) {
    const MemoryPlan one = memory_plan(*model, device);
    const MemoryInfo memory = device.device->memory();
    out.plans.push_back(one);
    out.plans.back().free_bytes = memory.free_bytes;
    out.plans.back().total_bytes = memory.total_bytes;
  }
  out.plan = out.plans.front();
  const io::Checkpoint& checkpoint = model->checkpoint;
  for (const TensorView& tensor : checkpoint.tensors()) {
    out.tensors.push_back({tensor.name, std::string(name_of(tensor.dtype)), tensor.shape,
                           tensor.bytes.size(), checkpoint.file_of(tensor),
                           model->tensors.uses(tensor)});
  }
  return out;
}

std::vector<std::string> supported_isas() { return cpu_isas(); }

std::string version() { return TAMIS_VERSION; }

}  // namespace tamis
