#include "model/weights.h"

#include "base/fail.h"
#include "model/encoder.h"

namespace tamis {
namespace {

class Loader {
 public:
  Loader(const ModelTensors& tensors, const io::Checkpoint& checkpoint, Ops& ops)
      : tensors_(tensors), checkpoint_(checkpoint), ops_(ops) {}

  std::vector<float> floats(Slot slot, int64_t layer = 0) const {
    const TensorView& tensor = tensors_.at(slot, layer);
    require_finite(tensor);
    std::vector<float> out(static_cast<size_t>(element_count(tensor.shape)));
    convert_to_f32(tensor.dtype, tensor.bytes.data(), out.data(), out.size());
    checkpoint_.drop_pages(tensor);
    return out;
  }

  LayerNormWeights norm(Slot gamma, Slot beta, double eps, int64_t layer = 0) const {
    return {floats(gamma, layer), floats(beta, layer), static_cast<float>(eps)};
  }

  std::unique_ptr<PackedLinear> linear(std::initializer_list<std::pair<Slot, Slot>> parts,
                                       int64_t layer = 0) const {
    LinearSource source;
    for (auto [weight, bias] : parts) {
      source.weights.push_back(&tensors_.at(weight, layer));
      source.biases.push_back(&tensors_.at(bias, layer));
    }
    auto packed = ops_.pack_linear(source);
    for (const TensorView* w : source.weights) checkpoint_.drop_pages(*w);
    return packed;
  }

  EmbeddingWeights embeddings(const ModelSpec& spec) const {
    const TensorView& words = tensors_.at(Slot::kWords);
    EmbeddingWeights out;
    out.words = words.bytes.data();
    out.word_dtype = words.dtype;
    out.vocab = words.shape[0];
    out.hidden = words.shape[1];
    out.positions = floats(Slot::kPositions);
    out.types = tensors_.has(Slot::kTypes)
                    ? floats(Slot::kTypes)
                    : std::vector<float>(static_cast<size_t>(out.hidden), 0.0f);
    out.norm = norm(Slot::kEmbeddingGamma, Slot::kEmbeddingBeta, spec.config.layer_norm_eps);
    return out;
  }

  LayerWeights layer(const ModelSpec& spec, int64_t i) const {
    LayerWeights out;
    const double eps = spec.config.layer_norm_eps;
    out.query = linear({{Slot::kQueryWeight, Slot::kQueryBias}}, i);
    out.key_value =
        linear({{Slot::kKeyWeight, Slot::kKeyBias}, {Slot::kValueWeight, Slot::kValueBias}}, i);
    out.attention_out = linear({{Slot::kAttentionWeight, Slot::kAttentionBias}}, i);
    out.up = linear({{Slot::kUpWeight, Slot::kUpBias}}, i);
    out.down = linear({{Slot::kDownWeight, Slot::kDownBias}}, i);
    out.attention_norm = norm(Slot::kAttentionGamma, Slot::kAttentionBeta, eps, i);
    out.output_norm = norm(Slot::kOutputGamma, Slot::kOutputBeta, eps, i);
    return out;
  }

 private:
  const ModelTensors& tensors_;
  const io::Checkpoint& checkpoint_;
  Ops& ops_;
};

}  // namespace

std::shared_ptr<const ModelWeights> load_weights(const ModelSpec& spec, Ops& ops,
                                                 const LogSink& log) {
  auto out = std::make_shared<ModelWeights>(
      ModelWeights{spec, io::Checkpoint::open(spec.directory, log), {}, {}, {}, {}, 0});
  const ModelTensors tensors(spec, out->checkpoint, log);
  const Loader loader(tensors, out->checkpoint, ops);
  out->parameters = tensors.elements();
  out->embeddings = loader.embeddings(spec);
  for (int64_t i = 0; i < spec.config.num_hidden_layers; ++i) {
    out->layers.push_back(loader.layer(spec, i));
  }
  if (spec.kind == ModelKind::kCrossEncoder) {
    out->head_dense = loader.linear({{Slot::kHeadDenseWeight, Slot::kHeadDenseBias}});
    out->head_out = loader.linear({{Slot::kHeadOutWeight, Slot::kHeadOutBias}});
  }
  return out;
}

MemoryPlan plan_memory(const ModelSpec& spec, const ModelTensors& tensors, const Ops& ops,
                       size_t batch_tokens) {
  const io::ModelConfig& c = spec.config;
  const int64_t h = c.hidden_size, f = c.intermediate_size;
  const TensorView& words = tensors.at(Slot::kWords);
  size_t floats = 0;
  for (const SlotSpec& slot : tensor_table(spec)) {
    const bool vector = slot.shape.size() == 1;
    const bool table = slot.slot == Slot::kPositions || slot.slot == Slot::kTypes;
    const bool bias = slot.name.ends_with("bias") && !slot.name.ends_with("LayerNorm.bias");
    if ((vector && !bias) || table) floats += static_cast<size_t>(element_count(slot.shape));
  }
  const size_t layer = ops.linear_bytes(h, h) + ops.linear_bytes(h, 2 * h) +
                       ops.linear_bytes(h, h) + ops.linear_bytes(h, f) + ops.linear_bytes(f, h);
  size_t head = 0;
  if (spec.kind == ModelKind::kCrossEncoder) {
    head = ops.linear_bytes(h, h) + ops.linear_bytes(h, tensors.at(Slot::kHeadOutWeight).shape[0]);
  }
  MemoryPlan plan;
  plan.mapped_bytes = words.bytes.size();
  plan.weight_bytes =
      floats * sizeof(float) + layer * static_cast<size_t>(c.num_hidden_layers) + head;
  plan.workspace_bytes = Workspace::bytes_for(spec, batch_tokens);
  plan.batch_tokens = batch_tokens;
  return plan;
}

}  // namespace tamis
