#include "model/spec.h"
#include "model/weights.h"
#include "tamis/model.h"
#include "tamis/session.h"

namespace tamis {

ModelDescription describe_model(const std::filesystem::path& directory, const LoadOptions& options,
                                size_t batch_tokens) {
  const ModelSpec spec = read_spec(directory, options);
  const auto checkpoint = io::Checkpoint::open(directory, options.log);
  const ModelTensors tensors(spec, checkpoint, options.log);
  const auto device = make_device(options.device, {1, options.isa});
  ModelDescription out;
  const size_t labels = spec.kind == ModelKind::kCrossEncoder
                            ? static_cast<size_t>(tensors.at(Slot::kHeadOutWeight).shape[0])
                            : 0;
  out.info = make_info(spec, tensors.elements(), labels);
  out.plan = plan_memory(spec, tensors, device->ops(),
                         batch_tokens > 0 ? batch_tokens : device->preferred_batch_tokens());
  for (const TensorView& tensor : checkpoint.tensors()) {
    out.tensors.push_back({tensor.name, std::string(name_of(tensor.dtype)), tensor.shape,
                           tensor.bytes.size(), checkpoint.file_of(tensor), tensors.uses(tensor)});
  }
  return out;
}

std::vector<std::string> supported_isas() { return cpu_isas(); }

std::string version() { return TAMIS_VERSION; }

}  // namespace tamis
