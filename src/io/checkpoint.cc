#include "io/checkpoint.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/fail.h"
#include "io/file_map.h"
#include "io/foreign.h"
#include "io/json.h"

namespace tamis::io {

namespace fs = std::filesystem;

struct Checkpoint::Impl {
  fs::path directory;
  std::vector<FileMap> files;
  std::vector<TensorView> tensors;  // sorted by name
  std::vector<size_t> file_of;      // tensors[i] lies in files[file_of[i]]

  // Not by address: a tensor without elements has none of its own.
  const FileMap* file_with(std::string_view name) const {
    const auto at = lower_bound(name);
    if (at == tensors.end() || at->name != name) return nullptr;
    return &files[file_of[static_cast<size_t>(at - tensors.begin())]];
  }

  std::vector<TensorView>::const_iterator lower_bound(std::string_view name) const {
    return std::lower_bound(tensors.begin(), tensors.end(), name,
                            [](const TensorView& t, std::string_view n) { return t.name < n; });
  }

  /// The tensors of the file that was added last.
  void take(std::vector<TensorView> added) {
    for (TensorView& tensor : added) {
      const auto at = lower_bound(tensor.name) - tensors.begin();
      file_of.insert(file_of.begin() + at, files.size() - 1);
      tensors.insert(tensors.begin() + at, std::move(tensor));
    }
  }
};

namespace {

constexpr const char* kSingle[] = {"model.safetensors", "pytorch_model.bin"};
constexpr const char* kIndex[] = {"model.safetensors.index.json", "pytorch_model.bin.index.json"};

std::vector<TensorView> parse_file(const FileMap& file) {
  const bool safetensors = file.path().extension() == ".safetensors";
  return safetensors ? parse_safetensors(file.bytes(), file.path().string())
                     : parse_torch_zip(file.bytes(), file.path().string());
}

// Shard -> the names of its tensors, sorted.
using Shards = std::map<std::string, std::vector<std::string>, std::less<>>;

Shards read_index(const fs::path& index) {
  const std::string where = index.string();
  const auto document = JsonDocument::parse(read_text_file(index), where);
  Shards shards;
  std::vector<std::string_view> names;
  for (const auto& [name, shard] : document.root().at("weight_map").members("weight_map")) {
    shards[std::string(shard.string(name))].emplace_back(name);
    names.push_back(name);
  }
  if (shards.empty()) {
    fail(ErrorCode::kDataLoss, "{}: weight_map: expected names of tensors, got none", where);
  }
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) {
    fail(ErrorCode::kDataLoss, "{}: weight_map: tensor \"{}\": expected once, got twice", where,
         *twin);
  }
  for (auto& [shard, tensors] : shards) std::sort(tensors.begin(), tensors.end());
  return shards;
}

FileMap open_shard(const fs::path& index, const std::string& shard) {
  const fs::path path = path_inside(index.parent_path(), shard, index.string(), "weight_map");
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    fail(ErrorCode::kNotFound, "{}: no such file, but {} names it as a shard", path.string(),
         index.string());
  }
  return FileMap::open(path);
}

// Keeps of a shard's tensors what the index promises; both lists are sorted.
std::vector<TensorView> pick(std::vector<TensorView> tensors, const std::vector<std::string>& names,
                             const FileMap& shard, const fs::path& index, const LogSink& log) {
  std::vector<TensorView> picked;
  size_t extra = 0;
  auto wanted = names.begin();
  const auto refuse = [&] {
    fail(ErrorCode::kDataLoss, "{}: no tensor \"{}\", but {} says that it is there",
         shard.path().string(), *wanted, index.string());
  };
  for (TensorView& tensor : tensors) {
    if (wanted == names.end() || tensor.name < *wanted) {
      ++extra;
    } else if (tensor.name == *wanted) {
      picked.push_back(std::move(tensor));
      ++wanted;
    } else {
      refuse();
    }
  }
  if (wanted != names.end()) refuse();
  if (extra > 0) {
    log_to(log, LogLevel::kWarning, "{}: {} tensors are not in {} and are ignored",
           shard.path().string(), extra, index.string());
  }
  return picked;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& directory, const LogSink& log) {
  std::error_code ignored;
  for (size_t i = 0; i < std::size(kSingle); ++i) {
    const fs::path single = directory / kSingle[i];
    if (fs::exists(single, ignored)) return open_file(single, log);
    const fs::path index = directory / kIndex[i];
    if (fs::exists(index, ignored)) return open_sharded(index, log);
  }
  fail(ErrorCode::kNotFound, "{}: no weights: looked for {}, {}, {}, {}", directory.string(),
       kSingle[0], kIndex[0], kSingle[1], kIndex[1]);
}

Checkpoint Checkpoint::open_file(const fs::path& file, const LogSink& log) {
  auto impl = std::make_unique<Impl>();
  impl->directory = file.parent_path();
  impl->files.push_back(FileMap::open(file));
  impl->tensors = parse_file(impl->files.back());
  impl->file_of.assign(impl->tensors.size(), 0);
  log_to(log, LogLevel::kDebug, "{}: {} tensors in {} bytes", file.string(), impl->tensors.size(),
         impl->files.back().bytes().size());
  return Checkpoint(std::move(impl));
}

Checkpoint Checkpoint::open_sharded(const fs::path& index, const LogSink& log) {
  auto impl = std::make_unique<Impl>();
  impl->directory = index.parent_path();
  std::vector<std::pair<TensorView, size_t>> all;
  for (const auto& [shard, names] : read_index(index)) {
    const FileMap& file = impl->files.emplace_back(open_shard(index, shard));
    for (TensorView& tensor : pick(parse_file(file), names, file, index, log)) {
      all.emplace_back(std::move(tensor), impl->files.size() - 1);
    }
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
  for (auto& [tensor, file] : all) {
    impl->tensors.push_back(std::move(tensor));
    impl->file_of.push_back(file);
  }
  log_to(log, LogLevel::kDebug, "{}: {} tensors in {} shards", index.string(), impl->tensors.size(),
         impl->files.size());
  return Checkpoint(std::move(impl));
}

void Checkpoint::add_part(const std::string& name, const LogSink& log) {
  const std::string prefix = name + ".";
  const auto first = impl_->lower_bound(prefix);
  if (first != impl_->tensors.end() && first->name.starts_with(prefix)) return;
  for (const char* extension : {".safetensors", ".pt"}) {
    const fs::path path = impl_->directory / (name + extension);
    std::error_code ignored;
    if (!fs::exists(path, ignored)) continue;
    std::vector<TensorView> tensors = parse_file(impl_->files.emplace_back(FileMap::open(path)));
    for (TensorView& tensor : tensors) tensor.name.insert(0, prefix);
    log_to(log, LogLevel::kDebug, "{}: {} tensors", path.string(), tensors.size());
    impl_->take(std::move(tensors));
    return;
  }
}

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

std::span<const TensorView> Checkpoint::tensors() const { return impl_->tensors; }

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto at = impl_->lower_bound(name);
  return at != impl_->tensors.end() && at->name == name ? &*at : nullptr;
}

std::vector<const FileMap*> Checkpoint::files() const {
  std::vector<const FileMap*> out;
  for (const FileMap& file : impl_->files) out.push_back(&file);
  std::sort(out.begin(), out.end(),
            [](const FileMap* a, const FileMap* b) { return a->path() < b->path(); });
  return out;
}

std::string Checkpoint::file_of(const TensorView& tensor) const {
  const FileMap* file = impl_->file_with(tensor.name);
  return file ? file->path().string() : std::string();
}

void Checkpoint::read_rows(const TensorView& tensor, std::span<const int32_t> rows,
                           std::byte* to) const {
  const FileMap* file = impl_->file_with(tensor.name);
  const auto offset = static_cast<size_t>(tensor.bytes.data() - file->bytes().data());
  const size_t row_bytes = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
  for (const int32_t row : rows) {
    file->read(offset + static_cast<size_t>(row) * row_bytes, {to, row_bytes});
    to += row_bytes;
  }
}

void Checkpoint::drop_pages(const TensorView& tensor) const {
  if (const FileMap* file = impl_->file_with(tensor.name)) file->drop_pages(tensor.bytes);
}

}  // namespace tamis::io
