#include "model/spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/fail.h"
#include "model/int8_checkpoint.h"
#include "tamis/registry.h"

namespace tamis {
namespace {

enum class Family { kBert, kXlmRoberta };

struct ArchitectureInfo {
  std::string_view name;
  Family family;
  ModelKind kind;
};

// MaskedLM checkpoints run as embedders: their language-model head is ignored.
constexpr std::array<ArchitectureInfo, 6> kArchitectures = {{
    {"XLMRobertaForSequenceClassification", Family::kXlmRoberta, ModelKind::kCrossEncoder},
    {"XLMRobertaModel", Family::kXlmRoberta, ModelKind::kEmbedder},
    {"XLMRobertaForMaskedLM", Family::kXlmRoberta, ModelKind::kEmbedder},
    {"BertForSequenceClassification", Family::kBert, ModelKind::kCrossEncoder},
    {"BertModel", Family::kBert, ModelKind::kEmbedder},
    {"BertForMaskedLM", Family::kBert, ModelKind::kEmbedder},
}};

const ArchitectureInfo& find_architecture(const io::ModelConfig& config,
                                          const std::filesystem::path& directory) {
  // A config without "architectures" is the bare encoder of its model_type.
  std::string name = config.architectures.empty() ? "" : config.architectures.front();
  if (name.empty() && config.model_type == "bert") name = "BertModel";
  if (name.empty() && config.model_type == "xlm-roberta") name = "XLMRobertaModel";
  for (const ArchitectureInfo& info : kArchitectures) {
    if (info.name == name) return info;
  }
  std::vector<std::string_view> names;
  for (const ArchitectureInfo& info : kArchitectures) names.push_back(info.name);
  fail(ErrorCode::kUnimplemented,
       "{}: architecture \"{}\" (model_type \"{}\") is not supported; supported are: {}",
       (directory / "config.json").string(), name, config.model_type, fmt::join(names, ", "));
}

Activation read_activation(const io::ModelConfig& config, const std::filesystem::path& directory) {
  if (config.hidden_act == "gelu") return Activation::kGelu;
  if (config.hidden_act == "relu") return Activation::kRelu;
  fail(ErrorCode::kUnimplemented,
       "{}: hidden_act \"{}\" is not supported; supported are: gelu, relu",
       (directory / "config.json").string(), config.hidden_act);
}

Pooling read_pooling(const io::SentenceTransformersConfig& modules, const LoadOptions& options,
                     const std::filesystem::path& directory) {
  if (options.pooling != Pooling::kFromModel) return options.pooling;
  if (modules.pooling.empty()) {
    const KnownModel* known = find_known_model(directory);
    return known != nullptr && known->pooling != Pooling::kFromModel ? known->pooling
                                                                     : Pooling::kCls;
  }
  for (const Pooling pooling : {Pooling::kCls, Pooling::kMean, Pooling::kLast, Pooling::kSplade}) {
    if (modules.pooling == pooling_name(pooling)) return pooling;
  }
  fail(ErrorCode::kUnimplemented,
       "{}: pooling \"{}\" is not supported; supported are: cls, mean, last, splade",
       (directory / "modules.json").string(), modules.pooling);
}

}  // namespace

ModelSpec read_spec(const std::filesystem::path& directory, const LoadOptions& options) {
  ModelSpec spec;
  spec.directory = directory;
  spec.config = io::read_model_config(directory);
  const ArchitectureInfo& architecture = find_architecture(spec.config, directory);
  spec.architecture = architecture.name;
  spec.kind = architecture.kind;
  spec.activation = read_activation(spec.config, directory);
  if (spec.config.position_embedding_type != "absolute") {
    fail(ErrorCode::kUnimplemented,
         "{}: position_embedding_type \"{}\" is not supported; expected \"absolute\"",
         (directory / "config.json").string(), spec.config.position_embedding_type);
  }
  const auto modules = io::read_sentence_transformers_config(directory);
  if (spec.kind == ModelKind::kEmbedder) {
    if (!modules.unsupported_modules.empty()) {
      fail(ErrorCode::kUnimplemented, "{}: modules of kind {} are not supported",
           (directory / "modules.json").string(), fmt::join(modules.unsupported_modules, ", "));
    }
    spec.pooling = read_pooling(modules, options, directory);
    spec.normalize = modules.normalize;
    if (spec.pooling == Pooling::kSplade) {
      if (!architecture.name.ends_with("ForMaskedLM")) {
        fail(ErrorCode::kInvalidArgument,
             "{}: SPLADE pools the head of a masked language model, which {} does not have",
             directory.string(), architecture.name);
      }
      spec.normalize = false;
    }
  }
  const int64_t rows = spec.config.max_position_embeddings;
  int64_t usable = rows;
  if (architecture.family == Family::kXlmRoberta) {
    spec.positions = {true, static_cast<int32_t>(spec.config.pad_token_id)};
    usable = rows - spec.config.pad_token_id - 1;
  }
  if (usable < 8) {
    fail(ErrorCode::kDataLoss,
         "{}: max_position_embeddings {} leaves room for {} tokens; expected at least 8",
         (directory / "config.json").string(), rows, usable);
  }
  spec.max_length = static_cast<size_t>(usable);
  const size_t wanted =
      modules.max_seq_length > 0 ? static_cast<size_t>(modules.max_seq_length) : size_t{512};
  spec.default_max_length = std::min(wanted, spec.max_length);
  return spec;
}

void find_token_heads(ModelSpec& spec, const io::Checkpoint& checkpoint) {
  if (spec.kind != ModelKind::kEmbedder) return;
  spec.sparse_head = checkpoint.find("sparse_linear.weight") != nullptr;
  const TensorView* colbert = checkpoint.find("colbert_linear.weight");
  if (colbert != nullptr) spec.colbert_dimension = colbert->shape.empty() ? 1 : colbert->shape[0];
}

std::vector<SlotSpec> tensor_table(const ModelSpec& spec) {
  const io::ModelConfig& c = spec.config;
  const int64_t h = c.hidden_size, f = c.intermediate_size;
  std::vector<SlotSpec> table;
  auto add = [&](Slot slot, int64_t layer, std::string name, Shape shape, bool in_encoder = true) {
    table.push_back({slot, layer, std::move(name), in_encoder, std::move(shape)});
  };
  auto add_linear = [&](Slot weight, Slot bias, int64_t layer, const std::string& name, int64_t out,
                        int64_t in, bool in_encoder = true) {
    add(weight, layer, name + ".weight", {out, in}, in_encoder);
    add(bias, layer, name + ".bias", {out}, in_encoder);
  };
  auto add_norm = [&](Slot gamma, Slot beta, int64_t layer, const std::string& name) {
    add(gamma, layer, name + ".weight", {h});
    add(beta, layer, name + ".bias", {h});
  };
  add(Slot::kWords, 0, "embeddings.word_embeddings.weight", {c.vocab_size, h});
  add(Slot::kPositions, 0, "embeddings.position_embeddings.weight", {c.max_position_embeddings, h});
  if (c.type_vocab_size > 0) {
    add(Slot::kTypes, 0, "embeddings.token_type_embeddings.weight", {c.type_vocab_size, h});
  }
  add_norm(Slot::kEmbeddingGamma, Slot::kEmbeddingBeta, 0, "embeddings.LayerNorm");
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = fmt::format("encoder.layer.{}.", i);
    add_linear(Slot::kQueryWeight, Slot::kQueryBias, i, layer + "attention.self.query", h, h);
    add_linear(Slot::kKeyWeight, Slot::kKeyBias, i, layer + "attention.self.key", h, h);
    add_linear(Slot::kValueWeight, Slot::kValueBias, i, layer + "attention.self.value", h, h);
    add_linear(Slot::kAttentionWeight, Slot::kAttentionBias, i, layer + "attention.output.dense", h,
               h);
    add_norm(Slot::kAttentionGamma, Slot::kAttentionBeta, i, layer + "attention.output.LayerNorm");
    add_linear(Slot::kUpWeight, Slot::kUpBias, i, layer + "intermediate.dense", f, h);
    add_linear(Slot::kDownWeight, Slot::kDownBias, i, layer + "output.dense", h, f);
    add_norm(Slot::kOutputGamma, Slot::kOutputBeta, i, layer + "output.LayerNorm");
  }
  if (spec.kind == ModelKind::kCrossEncoder) {
    // Both families score tanh(dense(first token)); BERT keeps the dense layer in its pooler.
    const auto labels = std::max<int64_t>(1, static_cast<int64_t>(c.labels.size()));
    const bool roberta = spec.positions.after_padding;
    add_linear(Slot::kHeadDenseWeight, Slot::kHeadDenseBias, 0,
               roberta ? "classifier.dense" : "pooler.dense", h, h, !roberta);
    add_linear(Slot::kHeadOutWeight, Slot::kHeadOutBias, 0,
               roberta ? "classifier.out_proj" : "classifier", labels, h, false);
  }
  if (spec.pooling == Pooling::kSplade) {
    const bool roberta = spec.positions.after_padding;
    const std::string head = roberta ? "lm_head." : "cls.predictions.";
    const std::string transform = roberta ? head : head + "transform.";
    add_linear(Slot::kLmDenseWeight, Slot::kLmDenseBias, 0, transform + "dense", h, h, false);
    const std::string norm = transform + (roberta ? "layer_norm" : "LayerNorm");
    add(Slot::kLmGamma, 0, norm + ".weight", {h}, false);
    add(Slot::kLmBeta, 0, norm + ".bias", {h}, false);
    add(Slot::kLmDecoderWeight, 0, head + "decoder.weight", {c.vocab_size, h}, false);
    table.back().or_else = Slot::kWords;
    add(Slot::kLmDecoderBias, 0, head + "bias", {c.vocab_size}, false);
  }
  if (spec.sparse_head) {
    add_linear(Slot::kSparseWeight, Slot::kSparseBias, 0, "sparse_linear", 1, h, false);
  }
  if (spec.colbert_dimension > 0) {
    add_linear(Slot::kColbertWeight, Slot::kColbertBias, 0, "colbert_linear",
               spec.colbert_dimension, h, false);
  }
  return table;
}

namespace {

/// "bert." or "roberta." or nothing: whatever stands before the word table's name.
std::string find_prefix(const io::Checkpoint& checkpoint) {
  constexpr std::string_view kAnchor = "embeddings.word_embeddings.weight";
  for (std::string_view prefix : {"", "roberta.", "bert.", "model.", "encoder."}) {
    if (checkpoint.find(std::string(prefix) + std::string(kAnchor)) != nullptr) {
      return std::string(prefix);
    }
  }
  return "";
}

/// Checkpoints converted from TensorFlow call LayerNorm's parameters gamma and beta.
std::string old_name(const std::string& name) {
  for (auto [now, then] :
       {std::pair<std::string_view, std::string_view>{"LayerNorm.weight", "LayerNorm.gamma"},
        {"LayerNorm.bias", "LayerNorm.beta"}}) {
    if (name.ends_with(now)) {
      return name.substr(0, name.size() - now.size()) + std::string(then);
    }
  }
  return name;
}

bool may_be_int8(Slot slot) {
  constexpr std::array kSlots = {Slot::kQueryWeight,     Slot::kKeyWeight, Slot::kValueWeight,
                                 Slot::kAttentionWeight, Slot::kUpWeight,  Slot::kDownWeight};
  return std::find(kSlots.begin(), kSlots.end(), slot) != kSlots.end();
}

}  // namespace

ModelTensors::ModelTensors(const ModelSpec& spec, const io::Checkpoint& checkpoint,
                           const LogSink& log) {
  const std::string prefix = find_prefix(checkpoint);
  std::vector<std::string> problems;
  for (const SlotSpec& want : tensor_table(spec)) {
    const std::string name = (want.in_encoder ? prefix : "") + want.name;
    const TensorView* tensor = checkpoint.find(name);
    if (tensor == nullptr) tensor = checkpoint.find(old_name(name));
    if (tensor == nullptr && want.or_else && has(*want.or_else)) {
      entries_.push_back({want.slot, want.layer, &at(*want.or_else)});
      continue;
    }
    if (tensor == nullptr) {
      problems.push_back(fmt::format("{}: missing, expected {}", name, to_string(want.shape)));
    } else if (tensor->shape != want.shape) {
      problems.push_back(fmt::format("{}: expected {}, got {}", tensor->name, to_string(want.shape),
                                     to_string(tensor->shape)));
    } else if (tensor->dtype == DType::kI8 && may_be_int8(want.slot)) {
      int8_.emplace(tensor, read_int8_weight(checkpoint, *tensor));
      entries_.push_back({want.slot, want.layer, tensor});
      elements_ += element_count(tensor->shape);
    } else if (!is_floating(tensor->dtype)) {
      problems.push_back(fmt::format("{}: expected a floating dtype, got {}", tensor->name,
                                     name_of(tensor->dtype)));
    } else {
      entries_.push_back({want.slot, want.layer, tensor});
      elements_ += element_count(tensor->shape);
    }
  }
  if (!problems.empty()) {
    fail(ErrorCode::kDataLoss, "{}: {} tensors do not fit {} as config.json describes it:\n  {}",
         spec.directory.string(), problems.size(), spec.architecture, fmt::join(problems, "\n  "));
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (!uses(tensor)) {
      log_to(log, LogLevel::kDebug, "tensor {} {} {} is not used by {}", tensor.name,
             name_of(tensor.dtype), to_string(tensor.shape), spec.architecture);
    }
  }
}

const TensorView& ModelTensors::at(Slot slot, int64_t layer) const {
  for (const Entry& entry : entries_) {
    if (entry.slot == slot && entry.layer == layer) return *entry.tensor;
  }
  fail(ErrorCode::kInternal, "slot {} of layer {} is not in the table", static_cast<int>(slot),
       layer);
}

const Int8Weight* ModelTensors::int8(const TensorView& tensor) const {
  const auto it = int8_.find(&tensor);
  return it == int8_.end() ? nullptr : &it->second;
}

bool ModelTensors::has(Slot slot, int64_t layer) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& e) { return e.slot == slot && e.layer == layer; });
}

bool ModelTensors::uses(const TensorView& tensor) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) {
    // Also the parts that belong to an int8 weight.
    return e.tensor == &tensor ||
           (int8(*e.tensor) != nullptr && tensor.name.starts_with(e.tensor->name + "_"));
  });
}

}  // namespace tamis
