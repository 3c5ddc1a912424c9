#include "model/packed_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/byte_size.h"
#include "base/fail.h"
#include "io/file_writer.h"
#include "io/json.h"
#include "io/json_writer.h"

namespace tamis {
namespace {

namespace fs = std::filesystem;

// A file is a page of JSON, so that `head` tells what it is, and then the buffer.
constexpr size_t kHeaderBytes = 4096;
constexpr int64_t kFormat = 1;

uint64_t hash_of(std::string_view text) {
  return io::content_hash(std::as_bytes(std::span(text.data(), text.size())));
}

/// Its beginning, its end and pieces between them: reading a gigabyte to know that it has not
/// changed would take as long as packing it.
uint64_t sampled_hash(const io::FileMap& file) {
  constexpr size_t kPiece = 4096, kPieces = 64, kHead = 65536;
  const size_t size = file.bytes().size();
  if (size <= kHead + kPieces * kPiece) return io::content_hash(file.bytes());
  std::vector<std::byte> sample(kHead + kPieces * kPiece);
  file.read(0, std::span(sample).first(kHead));
  const size_t step = (size - kHead - kPiece) / (kPieces - 1);
  for (size_t i = 0; i < kPieces; ++i) {
    file.read(kHead + i * step, std::span(sample).subspan(kHead + i * kPiece, kPiece));
  }
  return io::content_hash(sample);
}

struct stat status_of(const fs::path& path) {
  struct stat s = {};
  ::stat(path.c_str(), &s);
  return s;
}

std::string header_text(const PackedKey& key, uint64_t hash) {
  std::string text;
  io::JsonWriter json(text, 1);
  json.begin_object();
  json.key("what").string("weights packed by tamis; may be removed at any time");
  json.key("format").integer(kFormat);
  json.key("source").string(key.source);
  json.key("form").string(key.form);
  json.key("bytes").unsigned_integer(key.bytes);
  json.key("hash").string(io::hash_text(hash));
  json.end_object();
  if (text.size() >= kHeaderBytes) fail(ErrorCode::kInternal, "a header of {} bytes", text.size());
  text.resize(kHeaderBytes - 1, ' ');
  return text + '\n';
}

/// Why a file does not count; empty if it does.
std::string objection(const io::FileMap& file, const PackedKey& key, const HostModel& model,
                      const io::RunTasks& run) {
  const uid_t owner = status_of(file.path()).st_uid;
  if (owner != ::geteuid() && owner != 0 && owner != status_of(model.spec.directory).st_uid) {
    return "it belongs to another user";
  }
  if (file.bytes().size() != kHeaderBytes + key.bytes) {
    return fmt::format("it has {} bytes, expected {}", file.bytes().size(),
                       kHeaderBytes + key.bytes);
  }
  const auto document =
      io::JsonDocument::parse(file.text().substr(0, kHeaderBytes), file.path().string());
  const io::JsonValue root = document.root();
  if (root.integer_or("format", 0) != kFormat) return "another version of tamis wrote it";
  if (root.string_or("form", "") != key.form) return "it is of another form";
  if (root.string_or("source", "") != key.source) return "the model has changed since";
  const uint64_t hash = io::content_hash(PackedCache::contents(file), run);
  if (root.string_or("hash", "") != io::hash_text(hash)) return "it is damaged";
  return {};
}

}  // namespace

PackedKey packed_key(const HostModel& model, const Device& device, DType dtype) {
  std::string about;
  for (const io::FileMap* file : model.checkpoint.files()) {
    const struct stat s = status_of(file->path());
    about +=
        fmt::format("{} {} {}.{} {:x}\n", file->path().filename().string(), file->bytes().size(),
                    s.st_mtim.tv_sec, s.st_mtim.tv_nsec, sampled_hash(*file));
  }
  about += io::read_text_file(model.spec.directory / "config.json");
  PackedKey key;
  key.source = io::hash_text(hash_of(about));
  key.form = fmt::format("{}, {}", device.info().packed_form, name_of(dtype));
  key.bytes = weight_bytes(model, device, dtype);
  std::error_code unknown;
  fs::path path = fs::weakly_canonical(model.spec.directory, unknown);
  if (unknown) path = model.spec.directory;
  if (!path.has_filename()) path = path.parent_path();  // "models/x/" is "models/x"
  key.name = fmt::format("{}-{:016x}{}", path.filename().string(),
                         hash_of(path.string() + "\n" + key.form), kPackedExtension);
  return key;
}

std::span<const std::byte> PackedCache::contents(const io::FileMap& file) {
  return file.bytes().subspan(kHeaderBytes);
}

std::shared_ptr<const io::FileMap> PackedCache::find(const PackedKey& key, const HostModel& model,
                                                     const io::RunTasks& run) const {
  const fs::path path = directory_ / key.name;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return nullptr;
  std::string why;
  try {
    auto file = std::make_shared<const io::FileMap>(io::FileMap::open(path));
    why = objection(*file, key, model, run);
    if (why.empty()) {
      log_to(log_, LogLevel::kInfo, "packed weights: {} mapped from {}", format_bytes(key.bytes),
             path.string());
      return file;
    }
  } catch (const Error& error) {
    why = error.what();
  }
  log_to(log_, LogLevel::kWarning, "packed weights: {} is not used: {}; it is made anew",
         path.string(), why);
  return nullptr;
}

void PackedCache::store(const PackedKey& key, std::span<const std::byte> bytes,
                        const io::RunTasks& run) const noexcept {
  try {
    fs::create_directories(directory_);
    io::FileWriter writer(directory_ / key.name);
    writer.append(header_text(key, io::content_hash(bytes, run)));
    writer.append(bytes);
    writer.finish();
    log_to(log_, LogLevel::kInfo, "packed weights: {} written to {}", format_bytes(key.bytes),
           (directory_ / key.name).string());
  } catch (const std::exception& error) {
    log_to(log_, LogLevel::kWarning, "packed weights are not kept: {}", error.what());
  }
}

}  // namespace tamis
