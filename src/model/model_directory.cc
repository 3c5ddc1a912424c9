#include "model/model_directory.h"

#include <set>

#include "base/fail.h"
#include "io/file_map.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"
#include "model/packed_cache.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

/// What a run of training leaves in a model's directory, and the model is not made of.
bool is_of_training(const std::string& name) {
  return name.starts_with("checkpoint-") || name == "metrics.jsonl" || name == "training.svg" ||
         name == "training.html" || name == "runs" || name == "trainer_state.json" ||
         name == "training_args.bin" || name == "lora";
}

void write_labels(const std::vector<std::string>& labels, io::JsonWriter& json) {
  json.key("id2label").begin_object();
  for (size_t i = 0; i < labels.size(); ++i) json.key(std::to_string(i)).string(labels[i]);
  json.end_object().key("label2id").begin_object();
  for (size_t i = 0; i < labels.size(); ++i) json.key(labels[i]).unsigned_integer(i);
  json.end_object();
}

}  // namespace

bool is_weight_file(const fs::path& name) {
  const std::string ext = name.extension().string();
  return ext == ".safetensors" || ext == ".bin" || ext == ".pt" ||
         name.string().ends_with(".index.json");
}

void require_new_directory(const fs::path& out, const fs::path& source) {
  std::error_code ignored;
  if (fs::exists(out, ignored) &&
      (!fs::is_directory(out, ignored) || !fs::is_empty(out, ignored))) {
    fail(ErrorCode::kInvalidArgument,
         "{}: expected a directory that is not there yet or is empty; give another name or remove "
         "it{}",
         out.string(), fs::equivalent(out, source, ignored) ? " (it is the model itself)" : "");
  }
}

UnfinishedDirectory::~UnfinishedDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

void copy_small_files(const fs::path& source, const fs::path& out) {
  for (const auto& entry : fs::directory_iterator(source)) {
    const fs::path name = entry.path().filename();
    if (name == kInt8ManifestName || name.string().starts_with('.') ||
        is_of_training(name.string()) || name.extension() == kPackedExtension ||
        (entry.is_regular_file() && is_weight_file(name)))
      continue;
    if (!entry.is_regular_file() && !entry.is_directory()) continue;
    fs::copy(entry.path(), out / name,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }
}

void write_changed_config(const fs::path& source, const fs::path& out,
                          const ConfigChanges& changes) {
  const fs::path file = source / "config.json";
  const auto document = io::JsonDocument::parse(io::read_text_file(file), file.string());
  std::set<std::string_view> left_out = {"torch_dtype", "dtype"};
  if (!changes.architecture.empty()) left_out.insert("architectures");
  if (!changes.labels.empty()) left_out.insert({"id2label", "label2id", "num_labels"});
  std::string text;
  io::JsonWriter json(text, 2);
  json.begin_object();
  if (!changes.architecture.empty()) {
    json.key("architectures").begin_array().string(changes.architecture).end_array();
  }
  for (const auto& [key, value] : document.root().members("config")) {
    if (left_out.contains(key)) continue;
    json.key(key);
    io::write_value(value, json);
  }
  if (!changes.labels.empty()) write_labels(changes.labels, json);
  json.key("torch_dtype").string(changes.dtype);
  json.end_object();
  text += '\n';
  io::FileWriter writer(out / "config.json");
  writer.append(text);
  writer.finish();
}

}  // namespace tamis
