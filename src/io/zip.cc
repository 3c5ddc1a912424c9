// Zip archives (PKWARE APPNOTE 6.3): the central directory at the end of the file is the truth, a
// local header before each entry's data repeats it and decides where the data begins.

#include "io/zip.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/fail.h"
#include "io/foreign.h"

namespace tamis::io {

namespace {

constexpr uint32_t kEndSignature = 0x06054b50;  // "PK\5\6"
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr uint32_t kEntrySignature = 0x02014b50;
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint64_t kEndBytes = 22;
constexpr uint64_t kEnd64Bytes = 56;
constexpr uint64_t kLocatorBytes = 20;
constexpr uint64_t kEntryBytes = 46;
constexpr uint64_t kLocalBytes = 30;
constexpr uint64_t kMaxComment = 0xffff;
constexpr uint32_t kIn64 = 0xffffffff;  // a 32-bit field whose value stands in a zip64 record

struct Directory {
  uint64_t entries;
  uint64_t bytes;
  uint64_t offset;
};

// What the central directory says of an entry.
struct Listed {
  ZipEntry entry;
  uint64_t begin;  // of the local header
  uint64_t end;    // of the data
};

class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view where) : file_(file), where_(where) {}

  std::vector<ZipEntry> read() const {
    const Directory directory = find_directory();
    std::vector<Listed> listed;
    // Not the claimed number: it may lie.
    listed.reserve(std::min(directory.entries, directory.bytes / kEntryBytes));
    uint64_t at = directory.offset;
    const uint64_t end = directory.offset + directory.bytes;
    for (uint64_t i = 0; i < directory.entries; ++i) at = read_entry(at, end, listed);
    if (at != end) {
      refuse(at, "expected the directory to end, got {} bytes after {} entries", end - at,
             directory.entries);
    }
    check_overlap(listed, directory.offset);
    std::vector<ZipEntry> entries;
    entries.reserve(listed.size());
    for (const Listed& l : listed) entries.push_back(l.entry);
    std::sort(entries.begin(), entries.end(),
              [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
    check_names(entries);
    return entries;
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(uint64_t at, fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kDataLoss, "{}: byte {}: {}", where_, at,
         fmt::format(format, std::forward<Args>(args)...));
  }

  bool fits(uint64_t at, uint64_t bytes) const {
    return at <= file_.size() && bytes <= file_.size() - at;
  }

  // Little endian; the caller has checked that the bytes are there.
  template <class T>
  T get(uint64_t at) const {
    T value;
    std::memcpy(&value, file_.data() + at, sizeof value);
    return value;
  }

  // The end record is the last one whose comment reaches exactly to the end of the file.
  uint64_t find_end_record() const {
    if (file_.size() >= kEndBytes) {
      const uint64_t last = file_.size() - kEndBytes;
      const uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
      for (uint64_t at = last + 1; at-- > first;) {
        if (get<uint32_t>(at) == kEndSignature && get<uint16_t>(at + 20) == last - at) return at;
      }
    }
    refuse(file_.size(), "truncated: expected a zip directory at the end of the file, got none");
  }

  Directory find_directory() const {
    const uint64_t end = find_end_record();
    Directory directory{get<uint16_t>(end + 10), get<uint32_t>(end + 12), get<uint32_t>(end + 16)};
    uint64_t limit = end;
    if (directory.entries == 0xffff || directory.bytes == kIn64 || directory.offset == kIn64) {
      if (const auto end64 = find_end_record64(end)) {
        limit = *end64;
        directory = {get<uint64_t>(limit + 32), get<uint64_t>(limit + 40),
                     get<uint64_t>(limit + 48)};
      }
    }
    if (directory.offset > limit || directory.bytes > limit - directory.offset) {
      refuse(end, "expected the zip directory before byte {}, got {} bytes at {}", limit,
             directory.bytes, directory.offset);
    }
    return directory;
  }

  std::optional<uint64_t> find_end_record64(uint64_t end) const {
    if (end < kLocatorBytes || get<uint32_t>(end - kLocatorBytes) != kLocator64Signature) {
      return std::nullopt;
    }
    const uint64_t at = get<uint64_t>(end - kLocatorBytes + 8);
    if (!fits(at, kEnd64Bytes) || at + kEnd64Bytes > end - kLocatorBytes ||
        get<uint32_t>(at) != kEnd64Signature) {
      refuse(end - kLocatorBytes, "expected a zip64 end record, got none at byte {}", at);
    }
    return at;
  }

  // Reads the directory's entry at `at`; returns where the next one begins.
  uint64_t read_entry(uint64_t at, uint64_t end, std::vector<Listed>& listed) const {
    if (end - at < kEntryBytes || get<uint32_t>(at) != kEntrySignature) {
      refuse(at, "expected an entry of the zip directory, got {}",
             end - at < kEntryBytes ? "its end" : "other bytes");
    }
    const uint64_t name_bytes = get<uint16_t>(at + 28);
    const uint64_t extra_bytes = get<uint16_t>(at + 30);
    const uint64_t next = at + kEntryBytes + name_bytes + extra_bytes + get<uint16_t>(at + 32);
    if (next > end) refuse(at, "truncated entry of the zip directory");
    const std::string_view name(reinterpret_cast<const char*>(file_.data()) + at + kEntryBytes,
                                name_bytes);
    if (get<uint16_t>(at + 8) & 1) refuse(at, "{}: expected plain data, got encrypted", show(name));
    if (const auto method = get<uint16_t>(at + 10); method != 0) {
      refuse(at, "{}: expected a stored entry (method 0), got compressed (method {})", show(name),
             method);
    }
    uint64_t sizes[3] = {get<uint32_t>(at + 24), get<uint32_t>(at + 20), get<uint32_t>(at + 42)};
    read_zip64_extra(at + kEntryBytes + name_bytes, extra_bytes, sizes);
    const auto [size, stored, offset] = sizes;
    if (size != stored) {
      refuse(at, "{}: expected as many bytes stored as in use, got {} and {}", show(name), stored,
             size);
    }
    listed.push_back(locate(name, offset, size));
    return next;
  }

  // `sizes` = used, stored, offset: those that are kIn64 follow in this order in the record of
  // type 1. One that is not there stays as it is, and is then outside the file.
  void read_zip64_extra(uint64_t at, uint64_t bytes, uint64_t (&sizes)[3]) const {
    const uint64_t end = at + bytes;
    while (end - at >= 4) {
      const auto type = get<uint16_t>(at);
      const uint64_t field_end = at + 4 + get<uint16_t>(at + 2);
      if (field_end > end) return;
      at += 4;
      if (type == 1) {
        for (uint64_t& size : sizes) {
          if (size != kIn64 || field_end - at < sizeof(uint64_t)) continue;
          size = get<uint64_t>(at);
          at += sizeof(uint64_t);
        }
        return;
      }
      at = field_end;
    }
  }

  Listed locate(std::string_view name, uint64_t offset, uint64_t size) const {
    if (!fits(offset, kLocalBytes) || get<uint32_t>(offset) != kLocalSignature) {
      refuse(offset, "{}: expected its local header, got {}", show(name),
             fits(offset, kLocalBytes) ? "other bytes" : "the end of the file");
    }
    const uint64_t begin =
        offset + kLocalBytes + get<uint16_t>(offset + 26) + get<uint16_t>(offset + 28);
    if (!fits(begin, size)) {
      refuse(offset, "{}: truncated: expected {} bytes from byte {} on, got {}", show(name), size,
             begin, file_.size() - std::min<uint64_t>(begin, file_.size()));
    }
    return {{name, file_.subspan(begin, size)}, offset, begin + size};
  }

  void check_overlap(std::vector<Listed>& listed, uint64_t directory) const {
    std::sort(listed.begin(), listed.end(),
              [](const Listed& a, const Listed& b) { return a.begin < b.begin; });
    for (size_t i = 0; i < listed.size(); ++i) {
      const uint64_t limit = i + 1 < listed.size() ? listed[i + 1].begin : directory;
      if (listed[i].end > limit) {
        refuse(listed[i].begin, "{}: expected to end before byte {}, got {}: entries overlap",
               show(listed[i].entry.name), limit, listed[i].end);
      }
    }
  }

  void check_names(const std::vector<ZipEntry>& entries) const {
    const auto twin =
        std::adjacent_find(entries.begin(), entries.end(),
                           [](const ZipEntry& a, const ZipEntry& b) { return a.name == b.name; });
    if (twin != entries.end()) {
      fail(ErrorCode::kDataLoss, "{}: entry {}: expected once, got twice", where_,
           show(twin->name));
    }
  }

  static std::string show(std::string_view name) { return printable(name); }

  std::span<const std::byte> file_;
  std::string_view where_;
};

}  // namespace

std::vector<ZipEntry> read_zip(std::span<const std::byte> file, std::string_view where) {
  return Reader(file, where).read();
}

}  // namespace tamis::io
