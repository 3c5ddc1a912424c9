#include "model/int8_writer.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <span>

#include "base/fail.h"
#include "io/content_hash.h"
#include "io/file_map.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"
#include "io/safetensors_writer.h"
#include "model/model_directory.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = kInt8ManifestName;

int64_t modified_ns(const fs::path& path) {
  struct stat s = {};
  if (::stat(path.c_str(), &s) != 0) return 0;
  return int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec;
}

/// One tensor on its way to the file: its entry, and how to make its bytes.
struct Piece {
  io::TensorEntry entry;
  std::function<void(io::SafetensorsWriter&)> write;
};

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

/// As it is stored.
Piece copy_piece(const HostModel& model, const TensorView& tensor) {
  return {{tensor.name, tensor.dtype, tensor.shape}, [&](io::SafetensorsWriter& writer) {
            writer.append(tensor.bytes);
            model.checkpoint.drop_pages(tensor);
          }};
}

/// f32 (or f64) as f16, by the chunk: the word table has a gigabyte.
Piece narrow_piece(const HostModel& model, const TensorView& tensor) {
  if (size_of(tensor.dtype) <= 2) return copy_piece(model, tensor);
  return {{tensor.name, DType::kF16, tensor.shape}, [&](io::SafetensorsWriter& writer) {
            constexpr size_t kStep = size_t{1} << 20;
            const auto count = static_cast<size_t>(element_count(tensor.shape));
            std::vector<float> wide(std::min(kStep, count));
            std::vector<uint16_t> narrow(wide.size());
            for (size_t i = 0; i < count; i += kStep) {
              const size_t n = std::min(kStep, count - i);
              convert_to_f32(tensor.dtype, tensor.bytes.data() + i * size_of(tensor.dtype),
                             wide.data(), n);
              convert_from_f32(DType::kF16, wide.data(),
                               reinterpret_cast<std::byte*>(narrow.data()), n);
              writer.append(std::as_bytes(std::span(narrow).first(n)));
            }
            require_finite(tensor, DType::kF16);
            model.checkpoint.drop_pages(tensor);
          }};
}

/// A weight as int8, and its parts. The parts come after it in the file, where they are known.
void add_int8_pieces(const HostModel& model, const TensorView& tensor,
                     const InputQuantization& input, std::vector<Piece>& pieces) {
  const auto out = static_cast<size_t>(tensor.shape[0]), in = static_cast<size_t>(tensor.shape[1]);
  const auto columns = static_cast<int64_t>(input.outlier_columns.size());
  auto parts = std::make_shared<Int8Weight>();
  pieces.push_back({{tensor.name, DType::kI8, tensor.shape},
                    [&model, &tensor, &input, parts, out, in](io::SafetensorsWriter& writer) {
                      require_finite(tensor);
                      parts->scale.resize(out);
                      parts->outliers.resize(out * input.outlier_columns.size());
                      std::vector<float> row(in);
                      std::vector<int8_t> q(in);
                      for (size_t o = 0; o < out; ++o) {
                        convert_to_f32(tensor.dtype,
                                       tensor.bytes.data() + o * in * size_of(tensor.dtype),
                                       row.data(), in);
                        quantize_weights(row.data(), in, input, q.data(), &parts->scale[o],
                                         parts->outliers.data() + o * input.outlier_columns.size());
                        writer.append(bytes_of(q));
                      }
                      model.checkpoint.drop_pages(tensor);
                    }});
  pieces.push_back({{tensor.name + "_scale", DType::kF32, {tensor.shape[0]}},
                    [parts](auto& writer) { writer.append(bytes_of(parts->scale)); }});
  if (!input.smoothing.empty()) {
    pieces.push_back({{tensor.name + "_smoothing", DType::kF32, {tensor.shape[1]}},
                      [&input](auto& writer) { writer.append(bytes_of(input.smoothing)); }});
  }
  if (columns == 0) return;
  pieces.push_back({{tensor.name + "_outlier_columns", DType::kI32, {columns}},
                    [&input](auto& writer) { writer.append(bytes_of(input.outlier_columns)); }});
  pieces.push_back({{tensor.name + "_outliers", DType::kF32, {tensor.shape[0], columns}},
                    [parts](auto& writer) { writer.append(bytes_of(parts->outliers)); }});
}

/// The input that a slot's weight reads, or null if it is no weight of a layer.
const InputQuantization* input_of(const LayerQuantization& layer, Slot slot) {
  switch (slot) {
    case Slot::kQueryWeight:
    case Slot::kKeyWeight:
    case Slot::kValueWeight:
      return &layer.attention;
    case Slot::kAttentionWeight:
      return &layer.context;
    case Slot::kUpWeight:
      return &layer.up;
    case Slot::kDownWeight:
      return &layer.down;
    default:
      return nullptr;
  }
}

std::vector<Piece> make_pieces(const HostModel& model, const ModelQuantization& quantization,
                               Int8Manifest& manifest) {
  std::vector<Piece> pieces;
  std::set<const TensorView*> written;  // one tensor may stand in two slots
  for (const SlotSpec& slot : tensor_table(model.spec)) {
    const TensorView& tensor = model.tensors.at(slot.slot, slot.layer);
    if (!written.insert(&tensor).second) continue;
    const InputQuantization* input =
        input_of(quantization[static_cast<size_t>(slot.layer)], slot.slot);
    if (input != nullptr && input->error <= kMaxInputError) {
      add_int8_pieces(model, tensor, *input, pieces);
      manifest.outlier_columns += input->outlier_columns.size();
    } else if (input != nullptr) {
      manifest.left_alone.push_back(tensor.name);
      pieces.push_back(narrow_piece(model, tensor));
    } else if (slot.slot == Slot::kWords) {
      pieces.push_back(narrow_piece(model, tensor));
    } else {
      pieces.push_back(copy_piece(model, tensor));
    }
  }
  return pieces;
}

std::vector<SourceFile> hash_sources(const fs::path& directory) {
  std::vector<SourceFile> out;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const fs::path name = entry.path().filename();
    if (!entry.is_regular_file() || !is_weight_file(name)) continue;
    const auto file = io::FileMap::open(entry.path());
    out.push_back({name.string(), file.bytes().size(), modified_ns(entry.path()),
                   io::hash_text(io::content_hash(file.bytes()))});
    file.drop_pages(file.bytes());
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return out;
}

void write_manifest(const fs::path& path, const Int8Manifest& manifest) {
  std::string text;
  io::JsonWriter json(text, 2);
  json.begin_object();
  json.key("format").integer(Int8Manifest::kFormat);
  json.key("dtype").string("int8");
  json.key("tamis").string(manifest.tamis_version);
  json.key("source").string(manifest.source.string());
  json.key("source_files").begin_array();
  for (const SourceFile& file : manifest.source_files) {
    json.begin_object().key("name").string(file.name).key("bytes").unsigned_integer(file.bytes);
    json.key("modified_ns").integer(file.modified_ns).key("hash").string(file.hash).end_object();
  }
  json.end_array();
  json.key("calibration_sequences").unsigned_integer(manifest.calibration_sequences);
  json.key("calibration_tokens").unsigned_integer(manifest.calibration_tokens);
  json.key("outlier_columns").unsigned_integer(manifest.outlier_columns);
  json.key("left_alone").begin_array();
  for (const std::string& name : manifest.left_alone) json.string(name);
  json.end_array().end_object();
  text += '\n';
  io::FileWriter file(path);
  file.append(text);
  file.finish();
}

}  // namespace

void write_int8_model(const HostModel& model, const ModelQuantization& quantization,
                      const fs::path& out, Int8Manifest& manifest) {
  const fs::path source = model.spec.directory;
  if (model.tensors.quantized()) {
    fail(ErrorCode::kInvalidArgument,
         "{}: is quantised already; take the model that it was made of", source.string());
  }
  require_new_directory(out, source);
  std::error_code error;
  const bool was_there = fs::exists(out, error);
  try {
    fs::create_directories(out);
    UnfinishedDirectory cleanup(was_there ? fs::path() : out);
    const std::vector<Piece> pieces = make_pieces(model, quantization, manifest);
    std::vector<io::TensorEntry> entries;
    for (const Piece& piece : pieces) entries.push_back(piece.entry);
    io::SafetensorsWriter writer(out / "model.safetensors", entries,
                                 {{"format", "pt"}, {"tamis", "int8"}});
    for (const Piece& piece : pieces) piece.write(writer);
    writer.finish();
    copy_small_files(source, out);
    manifest.source = fs::absolute(source);
    manifest.source_files = hash_sources(source);
    write_manifest(out / kManifest, manifest);
    cleanup.keep();
  } catch (const fs::filesystem_error& e) {
    fail(ErrorCode::kUnavailable, "{}: cannot write the model: {}", out.string(),
         e.code().message());
  }
}

void check_int8_manifest(const fs::path& directory) {
  const fs::path path = directory / kManifest;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  const auto document = io::JsonDocument::parse(io::read_text_file(path), path.string());
  const io::JsonValue root = document.root();
  const int64_t format = root.at("format").integer("format");
  const fs::path source{std::string(root.at("source").string("source"))};
  const std::string remedy = fmt::format("run tamis quantize {} again", source.string());
  if (format != Int8Manifest::kFormat) {
    fail(ErrorCode::kUnimplemented,
         "{}: format {}, expected {}: another version of tamis wrote it; {}", path.string(), format,
         Int8Manifest::kFormat, remedy);
  }
  for (const io::JsonValue& file : root.at("source_files").elements("source_files")) {
    const fs::path name = source / std::string(file.at("name").string("name"));
    if (!fs::exists(name, ignored)) continue;  // moved to another machine, or the source removed
    if (static_cast<int64_t>(fs::file_size(name, ignored)) == file.at("bytes").integer("bytes")) {
      if (modified_ns(name) == file.at("modified_ns").integer("modified_ns")) continue;
      const std::string hash = io::hash_text(io::content_hash(io::FileMap::open(name).bytes()));
      if (hash == file.at("hash").string("hash")) continue;
    }
    fail(ErrorCode::kInvalidArgument,
         "{}: was made from {}, which has changed since; {}, or remove \"source_files\" entries "
         "from "
         "{} to go on with what it was",
         directory.string(), name.string(), remedy, kManifest);
  }
}

}  // namespace tamis
