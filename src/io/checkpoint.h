#pragma once

// The weights of a model directory: named tensors in mapped files, whatever the file format.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file_map.h"
#include "numeric/tensor_view.h"
#include "tamis/log.h"

namespace tamis::io {

/// Reads a safetensors header; the views point into `file`. `where` names the file in messages.
/// Refused (data_loss, with byte offsets): truncated or over-long header (100 MB at most), invalid
/// JSON, unknown dtype, negative or overflowing shapes, data offsets that lie outside the file,
/// overlap, leave holes, or do not match dtype x shape, duplicate names.
/// Time and memory are bounded by the header's real size, never by what it claims. Sorted by name.
std::vector<TensorView> parse_safetensors(std::span<const std::byte> file, std::string_view where);

/// Reads a torch zip archive (pytorch_model.bin, *.pt) with STORED entries; the views point into
/// `file`. The pickle is run by a machine that knows tensors, dicts, lists, tuples, strings and
/// numbers; any other opcode or global is refused (data_loss, naming it and its byte), and no
/// code is ever run. Nested dicts get dotted names; what is neither a dict nor a tensor is skipped.
/// Tensors that share a storage share bytes. Sorted by name.
/// Errors: data_loss; unimplemented for what is valid torch but not read here: files from before
/// the zip format, big-endian ones, tensors that are not contiguous.
std::vector<TensorView> parse_torch_zip(std::span<const std::byte> file, std::string_view where);

/// All tensors of a checkpoint. Owns the mappings; views live as long as it does.
class Checkpoint {
 public:
  /// Looks for, in this order: model.safetensors, model.safetensors.index.json (shards),
  /// pytorch_model.bin, pytorch_model.bin.index.json. Tensors of a shard that the index does not
  /// name are ignored, with a warning. Errors: not_found (lists what was looked for; or a shard),
  /// data_loss (a shard outside the directory, a tensor that the index promises in vain, and all
  /// of the parsers), unimplemented (as parse_torch_zip).
  static Checkpoint open(const std::filesystem::path& directory, const LogSink& log = {});
  /// One file, by its ending: .safetensors, else a torch zip.
  static Checkpoint open_file(const std::filesystem::path& file, const LogSink& log = {});
  /// Takes in the file NAME.safetensors or else NAME.pt of the directory, if there is one; its
  /// tensors are called NAME.weight and so on. Does nothing if there are such tensors already.
  void add_part(const std::string& name, const LogSink& log = {});
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  /// Sorted by name.
  std::span<const TensorView> tensors() const;
  const TensorView* find(std::string_view name) const;
  /// Those that hold the tensors, in the order of their names.
  std::vector<const FileMap*> files() const;
  /// The file that holds this tensor, for messages.
  std::string file_of(const TensorView& tensor) const;
  /// Rows of a matrix, one after the other as they are stored, read from the file (FileMap::read).
  void read_rows(const TensorView& tensor, std::span<const int32_t> rows, std::byte* to) const;
  /// Lets the system take back the pages behind a tensor once it has been converted.
  void drop_pages(const TensorView& tensor) const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  static Checkpoint open_sharded(const std::filesystem::path& index, const LogSink& log);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis::io
