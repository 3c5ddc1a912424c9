#include "train/model_writer.h"

#include <algorithm>
#include <chrono>
#include <tuple>

#include "base/fail.h"
#include "io/file_writer.h"
#include "io/json_writer.h"
#include "io/torch_writer.h"
#include "model/model_directory.h"
#include "train/state.h"

namespace tamis::training {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes kPatience{5};

std::vector<float> host_copy(const Parameter& p, Stream& stream) {
  std::vector<float> out(static_cast<size_t>(p.size));
  stream.download(out.data(), p.value, out.size() * sizeof(float));
  stream.synchronize(kPatience);
  return out;
}

/// sparse_linear.pt and colbert_linear.pt, where FlagEmbedding looks for them.
void write_token_heads(const Parameters& parameters, Stream& stream, const fs::path& out) {
  for (const auto& [weight, bias, name] :
       {std::tuple{Slot::kSparseWeight, Slot::kSparseBias, "sparse_linear.pt"},
        std::tuple{Slot::kColbertWeight, Slot::kColbertBias, "colbert_linear.pt"}}) {
    if (!parameters.has(weight)) continue;
    std::vector<std::vector<float>> values;
    values.reserve(2);  // the views below stay
    std::vector<TensorView> tensors;
    for (const Parameter* p : {&parameters.at(weight), &parameters.at(bias)}) {
      const auto& host = values.emplace_back(host_copy(*p, stream));
      tensors.push_back({p->slot == weight ? "weight" : "bias", DType::kF32, p->shape,
                         std::as_bytes(std::span(host))});
    }
    io::write_torch_dict(out / name, tensors);
  }
}

/// W + scale B A, in f32, each sum from the first row of A to the last.
std::vector<float> merged(const Parameters& parameters, const Parameter& w, Stream& stream) {
  std::vector<float> out = host_copy(w, stream);
  const std::vector<float> a = host_copy(parameters.at(w.slot, w.layer, Role::kLoraA), stream);
  const std::vector<float> b = host_copy(parameters.at(w.slot, w.layer, Role::kLoraB), stream);
  const auto rank = static_cast<size_t>(parameters.lora().rank);
  const auto width = static_cast<size_t>(w.shape[1]);
  const float scale = parameters.lora().scale();
  for (size_t o = 0; o < static_cast<size_t>(w.shape[0]); ++o) {
    float* row = out.data() + o * width;
    for (size_t r = 0; r < rank; ++r) {
      const float factor = scale * b[o * rank + r];
      const float* from = a.data() + r * width;
      for (size_t i = 0; i < width; ++i) row[i] += factor * from[i];
    }
  }
  return out;
}

/// Whole names of the modules with adapters: ends of names would mean heads, too.
std::vector<std::string> adapted_modules(const Parameters& parameters) {
  constexpr std::string_view kEnd = ".lora_A.weight";
  std::vector<std::string> out;
  for (const Parameter& p : parameters.all()) {
    if (p.role == Role::kLoraA) out.push_back(p.name.substr(0, p.name.size() - kEnd.size()));
  }
  return out;
}

/// Adapters and heads as peft's PeftModel.from_pretrained reads them beside the source.
void write_adapters(const HostModel& source, const ModelSpec& spec, const Parameters& parameters,
                    Stream& stream, const fs::path& out) {
  const bool new_head = is_new_head(source, spec), roberta = spec.positions.after_padding;
  std::vector<std::pair<std::string, const Parameter*>> tensors;
  for (const Parameter& p : parameters.all()) {
    if (!p.trains() || is_token_head(p.slot)) continue;
    tensors.emplace_back(adapter_name(p, new_head, roberta), &p);
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<io::TensorEntry> entries;
  for (const auto& [name, p] : tensors) entries.push_back({name, DType::kF32, p->shape});
  fs::create_directories((out / kAdapterFile).parent_path());
  io::SafetensorsWriter writer(out / kAdapterFile, entries, {{"format", "pt"}});
  for (const auto& [name, p] : tensors) append(writer, stream, p->value, p->size);
  writer.finish();

  const LoraConfig& lora = parameters.lora();
  const bool reranker = spec.kind == ModelKind::kCrossEncoder;
  std::string text;
  io::JsonWriter json(text, 2);
  json.begin_object().key("peft_type").string("LORA");
  json.key("task_type").string(reranker ? "SEQ_CLS" : "FEATURE_EXTRACTION");
  json.key("base_model_name_or_path").string(source.spec.directory.string());
  json.key("r").integer(lora.rank);
  json.key("lora_alpha").number(lora.alpha);
  json.key("lora_dropout").number(lora.dropout);
  json.key("bias").string("none");
  json.key("fan_in_fan_out").boolean(false);
  json.key("inference_mode").boolean(true);
  json.key("target_modules").begin_array();
  for (const std::string& module : adapted_modules(parameters)) json.string(module);
  json.end_array().key("modules_to_save").begin_array();
  if (reranker) json.string("classifier");
  if (reranker && !roberta) json.string("pooler");
  json.end_array().end_object();
  text += '\n';
  io::FileWriter file((out / kAdapterFile).parent_path() / "adapter_config.json");
  file.append(text);
  file.finish();
}

}  // namespace

void append(io::SafetensorsWriter& writer, Stream& stream, const float* from, int64_t count) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<float> piece;
  for (int64_t at = 0; at < count; at += kPiece) {
    piece.resize(static_cast<size_t>(std::min(kPiece, count - at)));
    stream.download(piece.data(), from + at, piece.size() * sizeof(float));
    stream.synchronize(kPatience);
    writer.append(std::as_bytes(std::span(piece)));
  }
}

std::string written_name(const Parameter& p, bool new_head, bool roberta) {
  const bool head =
      p.slot == Slot::kHeadOutWeight || p.slot == Slot::kHeadOutBias ||
      (roberta && (p.slot == Slot::kHeadDenseWeight || p.slot == Slot::kHeadDenseBias));
  if (!new_head || head) return p.name;
  const std::string prefix = roberta ? "roberta." : "bert.";
  return p.name.starts_with(prefix) ? p.name : prefix + p.name;
}

std::string adapter_name(const Parameter& p, bool new_head, bool roberta) {
  return "base_model.model." + written_name(p, new_head, roberta);
}

bool is_new_head(const HostModel& source, const ModelSpec& spec) {
  return spec.kind == ModelKind::kCrossEncoder && source.spec.kind != ModelKind::kCrossEncoder;
}

void write_model(const HostModel& source, const ModelSpec& spec, const Parameters& parameters,
                 Stream& stream, const fs::path& out) {
  try {
    copy_small_files(source.spec.directory, out);
    const bool new_head = is_new_head(source, spec);
    ConfigChanges changes;
    changes.dtype = "float32";
    if (new_head) {
      changes.architecture = spec.architecture;
      changes.labels = spec.config.labels;
      // What a sentence-transformers directory says of pooling is not true of a cross-encoder.
      for (const char* name : {"modules.json", "1_Pooling", "config_sentence_transformers.json",
                               "sentence_bert_config.json", "2_Normalize"}) {
        fs::remove_all(out / name);
      }
    }
    write_changed_config(source.spec.directory, out, changes);
    write_token_heads(parameters, stream, out);
    fs::remove_all((out / kAdapterFile).parent_path());  // another run's
    if (parameters.lora()) write_adapters(source, spec, parameters, stream, out);
    std::vector<std::pair<std::string, const Parameter*>> tensors;
    for (const Parameter& p : parameters.all()) {
      if (is_token_head(p.slot) || p.role != Role::kTensor) continue;
      tensors.emplace_back(written_name(p, new_head, spec.positions.after_padding), &p);
    }
    std::sort(tensors.begin(), tensors.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<io::TensorEntry> entries;
    for (const auto& [name, p] : tensors) entries.push_back({name, DType::kF32, p->shape});
    io::SafetensorsWriter writer(out / "model.safetensors", entries, {{"format", "pt"}});
    for (const auto& [name, p] : tensors) {
      if (parameters.has(p->slot, p->layer, Role::kLoraA)) {
        const std::vector<float> values = merged(parameters, *p, stream);
        writer.append(std::as_bytes(std::span(values)));
      } else {
        append(writer, stream, p->value, p->size);
      }
    }
    writer.finish();
  } catch (const fs::filesystem_error& e) {
    fail(e.code() == std::errc::no_space_on_device ? ErrorCode::kResourceExhausted
                                                   : ErrorCode::kUnavailable,
         "{}: cannot write the model: {}", out.string(), e.code().message());
  }
}

}  // namespace tamis::training
