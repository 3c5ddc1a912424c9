#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tamis::io {

/// One stored file of a zip archive; both views point into the archive.
struct ZipEntry {
  std::string_view name;
  std::span<const std::byte> data;
};

/// The entries of a zip archive, sorted by name. Only what torch.save writes: one disk, STORED
/// entries, zip64 allowed. Checksums are not compared: reading gigabytes twice to find what a
/// download's own hash finds is not worth it.
/// Errors: data_loss with the byte, for anything truncated, compressed, encrypted, duplicate,
/// overlapping or outside the file. Time and memory are bounded by the directory's real size.
std::vector<ZipEntry> read_zip(std::span<const std::byte> file, std::string_view where);

}  // namespace tamis::io
