#pragma once

// Packed weights kept in a file between runs: mapped at the next start instead of packed anew, and
// one copy in memory for all processes that map it.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/content_hash.h"
#include "io/file_map.h"
#include "model/weights.h"
#include "tamis/log.h"

namespace tamis {

/// Of the files' names.
inline constexpr std::string_view kPackedExtension = ".packed";

/// What a cached buffer was made from, and for.
struct PackedKey {
  std::string name;    ///< of the file: model, path and form
  std::string source;  ///< of the checkpoint's files: names, sizes, times, samples of their content
  std::string form;    ///< DeviceInfo::packed_form and dtype
  size_t bytes = 0;    ///< of the buffer
};

PackedKey packed_key(const HostModel& model, const Device& device, DType dtype);

/// A folder of such files. A file counts if it was made from the same source, for the same form, by
/// the same format, belongs to whom the model or this process belongs to, and its bytes have the
/// hash that its header tells; any other is told to the log and written anew. Nothing here stops a
/// model from being loaded: what goes wrong is a warning.
/// Thread rule: any thread; any number of processes.
class PackedCache {
 public:
  PackedCache(std::filesystem::path directory, LogSink log)
      : directory_(std::move(directory)), log_(std::move(log)) {}

  /// The mapped bytes, or null. `run` shares out the work of checking them.
  std::shared_ptr<const io::FileMap> find(const PackedKey& key, const HostModel& model,
                                          const io::RunTasks& run) const;
  /// The bytes of the buffer in a file that find returned.
  static std::span<const std::byte> contents(const io::FileMap& file);
  void store(const PackedKey& key, std::span<const std::byte> bytes,
             const io::RunTasks& run) const noexcept;

 private:
  std::filesystem::path directory_;
  LogSink log_;
};

}  // namespace tamis
