#pragma once

// Writing a model directory: what quantize and training have in common.

#include <filesystem>
#include <string>
#include <vector>

namespace tamis {

/// tamis.json, which a quantised directory has.
inline constexpr const char* kInt8ManifestName = "tamis.json";

/// Whether a file of a model directory holds weights.
bool is_weight_file(const std::filesystem::path& name);

/// Errors: invalid_argument (`out` is there and not an empty directory, or is the source).
void require_new_directory(const std::filesystem::path& out, const std::filesystem::path& source);

/// Removes what was written unless it is kept.
class UnfinishedDirectory {
 public:
  /// "": nothing to remove.
  explicit UnfinishedDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;
  ~UnfinishedDirectory();
  void keep() { path_.clear(); }

 private:
  std::filesystem::path path_;
};

/// Config, tokenizer and all else that is small, as it is.
void copy_small_files(const std::filesystem::path& source, const std::filesystem::path& out);

/// What config.json says of a model that was trained.
struct ConfigChanges {
  std::string architecture;         ///< "" = as before
  std::vector<std::string> labels;  ///< empty = as before
  std::string dtype;                ///< of the weights: "float32"
};

/// config.json of `source` with these changes, all else and its order as it was.
void write_changed_config(const std::filesystem::path& source, const std::filesystem::path& out,
                          const ConfigChanges& changes);

}  // namespace tamis
