#include "train/state.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>

#include "base/byte_size.h"
#include "base/fail.h"
#include "io/checkpoint.h"
#include "io/file_map.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"
#include "io/safetensors_writer.h"
#include "model/model_directory.h"
#include "train/model_writer.h"

namespace tamis::training {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr const char* kStateName = "trainer_state.json";
constexpr const char* kOptimizerName = "optimizer.safetensors";
constexpr const char* kRows = "touched_rows";
constexpr std::chrono::minutes kPatience{5};

/// One array of the optimiser's state: of the word table the rows that were ever touched.
struct Moment {
  std::string name;
  const Parameter* parameter;
  float* data;
};

std::vector<Moment> moments_of(const Parameters& parameters) {
  std::vector<Moment> out;
  for (const Parameter& p : parameters.all()) {
    if (!p.trains()) continue;
    out.push_back({p.name + ".exp_avg", &p, p.first_moment});
    out.push_back({p.name + ".exp_avg_sq", &p, p.second_moment});
  }
  return out;
}

void write_optimizer(const Parameters& parameters, Stream& stream, const fs::path& path) {
  const auto rows = parameters.touched_rows();
  const auto count = static_cast<int64_t>(rows.size());
  const std::vector<Moment> moments = moments_of(parameters);
  std::vector<io::TensorEntry> entries = {{kRows, DType::kI32, {count}}};
  for (const Moment& m : moments) {
    Shape shape = m.parameter->shape;
    if (m.parameter->slot == Slot::kWords) shape[0] = count;
    entries.push_back({m.name, DType::kF32, shape});
  }
  io::SafetensorsWriter writer(path, entries, {});
  writer.append(std::as_bytes(rows));
  for (const Moment& m : moments) {
    if (m.parameter->slot != Slot::kWords) {
      append(writer, stream, m.data, m.parameter->size);
      continue;
    }
    const int64_t width = m.parameter->shape[1];
    for (int32_t row : rows) append(writer, stream, m.data + row * width, width);
  }
  writer.finish();
}

void write_state(const RunState& state, const fs::path& path) {
  std::string text;
  io::JsonWriter json(text, 2);
  json.begin_object().key("global_step").integer(state.step);
  json.key("updates").integer(state.updates);
  json.key("loss_scale").number(state.loss_scale);
  json.key("scaled_steps").integer(state.scaled_steps);
  json.key("fingerprint").string(state.fingerprint).end_object();
  text += '\n';
  io::FileWriter file(path);
  file.append(text);
  file.finish();
}

std::optional<int64_t> step_of(const fs::path& directory) {
  const std::string name = directory.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [at, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (error != std::errc() || at != end) return std::nullopt;
  return step;
}

/// Checkpoints of a run, the oldest first.
std::vector<std::pair<int64_t, fs::path>> checkpoints(const fs::path& output_dir) {
  std::vector<std::pair<int64_t, fs::path>> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(output_dir, ignored)) {
    const auto step = step_of(entry.path());
    if (step && fs::exists(entry.path() / kStateName, ignored))
      out.emplace_back(*step, entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Removes a directory such that no moment sees a part of it under its name.
void discard(const fs::path& directory) {
  if (!fs::exists(directory)) return;
  const fs::path hidden = directory.parent_path() / ("." + directory.filename().string() + ".old");
  fs::remove_all(hidden);
  fs::rename(directory, hidden);
  fs::remove_all(hidden);
}

/// What a killed run left unfinished.
void sweep(const fs::path& output_dir) {
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(output_dir)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("." + std::string(kPrefix))) left.push_back(entry.path());
  }
  for (const fs::path& path : left) fs::remove_all(path);
}

const TensorView& required(const io::Checkpoint& checkpoint, const std::string& name, Shape shape,
                           const fs::path& file) {
  const TensorView* tensor = checkpoint.find(name);
  if (tensor == nullptr || tensor->shape != shape || tensor->dtype != DType::kF32) {
    fail(ErrorCode::kDataLoss, "{}: tensor {}: expected F32 {}, {}", file.string(), name,
         to_string(shape),
         tensor == nullptr
             ? "it is missing"
             : fmt::format("got {} {}", name_of(tensor->dtype), to_string(tensor->shape)));
  }
  return *tensor;
}

}  // namespace

fs::path write_checkpoint(const HostModel& source, const ModelSpec& spec,
                          const Parameters& parameters, Stream& stream, const RunState& state,
                          const fs::path& output_dir, size_t keep) {
  const fs::path out = output_dir / fmt::format("{}{}", kPrefix, state.step);
  const fs::path unfinished = output_dir / fmt::format(".{}{}.unfinished", kPrefix, state.step);
  // A step that was saved already, as one before a stop is, would be the same again.
  std::error_code ignored;
  if (fs::exists(out / kStateName, ignored)) return out;
  try {
    sweep(output_dir);
    fs::create_directories(unfinished);
    UnfinishedDirectory cleanup(unfinished);
    write_model(source, spec, parameters, stream, unfinished);
    write_optimizer(parameters, stream, unfinished / kOptimizerName);
    write_state(state, unfinished / kStateName);
    discard(out);  // something without a state
    fs::rename(unfinished, out);
    cleanup.keep();
    const auto all = checkpoints(output_dir);
    for (size_t i = 0; i + std::max<size_t>(keep, 1) < all.size(); ++i) discard(all[i].second);
  } catch (const fs::filesystem_error& e) {
    fail(e.code() == std::errc::no_space_on_device ? ErrorCode::kResourceExhausted
                                                   : ErrorCode::kUnavailable,
         "{}: cannot write the checkpoint: {}", out.string(), e.code().message());
  }
  return out;
}

void discard_checkpoints(const fs::path& output_dir) {
  try {
    sweep(output_dir);
    for (const auto& [step, path] : checkpoints(output_dir)) discard(path);
  } catch (const fs::filesystem_error& e) {
    fail(ErrorCode::kUnavailable, "{}: cannot remove what an earlier run left: {}",
         output_dir.string(), e.code().message());
  }
}

void check_disk(const DiskNeed& need, size_t free_bytes, const fs::path& directory,
                const LogSink& log) {
  const size_t least = need.model + (need.checkpoints > 0 ? need.checkpoint : 0);
  const size_t all = need.model + need.checkpoints * need.checkpoint;
  const auto what = [&] {
    return fmt::format("{}: {} are free; the model takes {}, {} checkpoints at a time {} each",
                       directory.string(), format_bytes(free_bytes), format_bytes(need.model),
                       need.checkpoints, format_bytes(need.checkpoint));
  };
  if (free_bytes < least) {
    fail(ErrorCode::kResourceExhausted,
         "{}: make room, or choose another output_dir; save_steps 0 writes no checkpoints", what());
  }
  if (free_bytes < all) {
    log_to(log, LogLevel::kWarning, "{}: the disk may become full (save_total_limit, save_steps)",
           what());
  }
}

std::optional<fs::path> newest_checkpoint(const fs::path& output_dir) {
  const auto all = checkpoints(output_dir);
  if (all.empty()) return std::nullopt;
  return all.back().second;
}

RunState read_checkpoint(const fs::path& checkpoint, const std::string& fingerprint,
                         const HostModel& source, const ModelSpec& spec, Parameters& parameters,
                         Stream& stream) {
  const fs::path state_file = checkpoint / kStateName;
  const auto document =
      io::JsonDocument::parse(io::read_text_file(state_file), state_file.string());
  RunState state;
  state.step = document.root().at("global_step").integer("global_step");
  state.updates = document.root().at("updates").integer("updates");
  state.loss_scale = document.root().at("loss_scale").number("loss_scale");
  state.scaled_steps = document.root().at("scaled_steps").integer("scaled_steps");
  state.fingerprint = document.root().at("fingerprint").string("fingerprint");
  if (state.fingerprint != fingerprint) {
    fail(ErrorCode::kInvalidArgument,
         "{}: the run was another one, which this would not continue:\n  it had {}\n  now    {}\n"
         "give the same data and options, or another output_dir",
         checkpoint.string(), state.fingerprint, fingerprint);
  }
  const auto upload = [&](float* to, const TensorView& from, size_t begin, size_t count) {
    stream.upload(to, from.bytes.data() + begin * sizeof(float), count * sizeof(float));
    stream.synchronize(kPatience);
  };
  const fs::path model_file = checkpoint / "model.safetensors";
  auto model = io::Checkpoint::open(checkpoint);
  for (const char* head : {"sparse_linear", "colbert_linear"}) model.add_part(head);
  const auto find_value = [&](const Parameter& p) -> const TensorView& {
    for (const char* prefix : {"", "roberta.", "bert."}) {
      if (model.find(prefix + p.name) != nullptr) {
        return required(model, prefix + p.name, p.shape, model_file);
      }
    }
    return required(model, p.name, p.shape, model_file);
  };
  const fs::path adapter_file = checkpoint / kAdapterFile;
  std::optional<io::Checkpoint> adapters;
  if (parameters.lora()) adapters = io::Checkpoint::open_file(adapter_file);
  const bool new_head = is_new_head(source, spec), roberta = spec.positions.after_padding;
  for (const Parameter& p : parameters.all()) {
    const auto count = static_cast<size_t>(p.size);
    if (p.role != Role::kTensor) {
      const std::string name = adapter_name(p, new_head, roberta);
      upload(p.value, required(*adapters, name, p.shape, adapter_file), 0, count);
    } else if (!parameters.has(p.slot, p.layer, Role::kLoraA)) {  // else it is the source's
      upload(p.value, find_value(p), 0, count);
    }
  }
  const fs::path optimizer_file = checkpoint / kOptimizerName;
  const auto optimizer = io::Checkpoint::open_file(optimizer_file);
  const TensorView* rows = optimizer.find(kRows);
  if (rows == nullptr || rows->dtype != DType::kI32 || rows->shape.size() != 1) {
    fail(ErrorCode::kDataLoss, "{}: tensor {} is missing", optimizer_file.string(), kRows);
  }
  std::vector<int32_t> touched(static_cast<size_t>(rows->shape[0]));
  if (!touched.empty()) std::memcpy(touched.data(), rows->bytes.data(), rows->bytes.size());
  for (const Moment& m : moments_of(parameters)) {
    Shape shape = m.parameter->shape;
    const bool words = m.parameter->slot == Slot::kWords;
    const int64_t vocab = shape[0];
    if (words) shape[0] = rows->shape[0];
    const TensorView& tensor = required(optimizer, m.name, shape, optimizer_file);
    if (!words) {
      upload(m.data, tensor, 0, static_cast<size_t>(m.parameter->size));
      continue;
    }
    const auto width = static_cast<size_t>(shape[1]);
    for (size_t i = 0; i < touched.size(); ++i) {
      if (touched[i] < 0 || touched[i] >= vocab || (i > 0 && touched[i] <= touched[i - 1])) {
        fail(ErrorCode::kDataLoss, "{}: {}[{}]: expected ascending rows below {}, got {}",
             optimizer_file.string(), kRows, i, vocab, touched[i]);
      }
      upload(m.data + static_cast<size_t>(touched[i]) * width, tensor, i * width, width);
    }
  }
  parameters.set_touched(std::move(touched));
  return state;
}

}  // namespace tamis::training
