#include "io/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "base/fail.h"
#include "base/host.h"
#include "io/crc32.h"

namespace tamis::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "events.out.tfevents.";
// A record: length u64, its masked checksum, the bytes, their masked checksum.
constexpr size_t kHead = 12, kTail = 4;

// Tags of protobuf: number of the field << 3 | kind (0 varint, 1 eight bytes, 2 bytes, 5 four).
enum : char {
  kWallTime = 1 << 3 | 1,
  kStep = 2 << 3 | 0,
  kFileVersion = 3 << 3 | 2,
  kSummary = 5 << 3 | 2,
  kSessionLog = 7 << 3 | 2,
  kSummaryValue = 1 << 3 | 2,  // of Summary
  kTag = 1 << 3 | 2,           // of Summary.Value
  kSimpleValue = 2 << 3 | 5,   // of Summary.Value
  kStatus = 1 << 3 | 0,        // of SessionLog
};
constexpr char kSessionStart = 1;

template <class T>
void put_fixed(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

void put_bytes(std::string& out, char tag, std::string_view bytes) {
  out += tag;
  put_varint(out, bytes.size());
  out += bytes;
}

/// The checksum of bytes that may hold checksums themselves [record_writer.h].
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return std::rotr(crc, 15) + 0xa282ead8u;
}

std::string event_of(int64_t step) {
  using Seconds = std::chrono::duration<double>;
  const double now = Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string out(1, kWallTime);
  put_fixed(out, std::bit_cast<uint64_t>(now));
  out += kStep;
  put_varint(out, static_cast<uint64_t>(step));
  return out;
}

template <class T>
T fixed_at(std::string_view bytes, size_t at) {
  T out = 0;
  for (size_t i = 0; i < sizeof(T); ++i) out |= T{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return out;
}

/// The whole record at bytes[at]; empty if there is none.
std::optional<std::string_view> record_at(std::string_view bytes, size_t at) {
  if (bytes.size() - at < kHead + kTail) return std::nullopt;
  const auto size = fixed_at<uint64_t>(bytes, at);
  if (masked_crc(bytes.substr(at, 8)) != fixed_at<uint32_t>(bytes, at + 8)) return std::nullopt;
  if (size > bytes.size() - at - kHead - kTail) return std::nullopt;
  const std::string_view event = bytes.substr(at + kHead, size);
  if (masked_crc(event) != fixed_at<uint32_t>(bytes, at + kHead + size)) return std::nullopt;
  return event;
}

/// As this writer writes it: the time, then the step. Empty for any other event.
std::optional<int64_t> step_of(std::string_view event) {
  constexpr size_t kAt = 1 + sizeof(double);
  if (event.size() <= kAt || event[0] != kWallTime || event[kAt] != kStep) return std::nullopt;
  uint64_t step = 0;
  for (size_t i = kAt + 1, shift = 0; i < event.size() && shift < 64; ++i, shift += 7) {
    const auto byte = static_cast<uint8_t>(event[i]);
    step |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return static_cast<int64_t>(step);
  }
  return std::nullopt;
}

void cut_file(const fs::path& path, int64_t last_step) {
  std::stringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string bytes = content.str();
  const EventPrefix kept = events_until(bytes, last_step);
  if (kept.bytes == 0 && !bytes.empty()) return;  // none of ours
  std::error_code error;
  if (!kept.has_steps) {
    fs::remove(path, error);
  } else if (kept.bytes < bytes.size()) {
    fs::resize_file(path, kept.bytes, error);
  }
  if (error) {
    fail(ErrorCode::kUnavailable, "{}: cannot be cut after step {}: {}", path.string(), last_step,
         error.message());
  }
}

}  // namespace

EventFile::EventFile(const fs::path& directory, std::string_view suffix, int64_t from_step) {
  std::error_code ignored;  // what is wrong with it, opening the file says
  fs::create_directories(directory, ignored);
  using std::chrono::seconds;
  auto time =
      std::chrono::duration_cast<seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  // Readers take the files of a directory in the order of their names: a second one of the same
  // second gets the next.
  for (; descriptor_ < 0; ++time) {
    path_ = directory / fmt::format("{}{}.{}{}", kPrefix, time, host_name(), suffix);
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor_ < 0 && errno != EEXIST) fail_now("create");
  }
  try {
    std::string version = event_of(0);
    put_bytes(version, kFileVersion, "brain.Event:2");
    append_record(version);
    std::string start = event_of(from_step);
    put_bytes(start, kSessionLog, std::string{kStatus, kSessionStart});
    append_record(start);
  } catch (...) {
    ::close(descriptor_);
    ::unlink(path_.c_str());
    throw;
  }
}

EventFile::~EventFile() { ::close(descriptor_); }

void EventFile::add(int64_t step, std::span<const ScalarValue> scalars) {
  std::string summary, value;
  for (const ScalarValue& scalar : scalars) {
    value.clear();
    put_bytes(value, kTag, scalar.tag);
    value += kSimpleValue;
    put_fixed(value, std::bit_cast<uint32_t>(static_cast<float>(scalar.value)));
    put_bytes(summary, kSummaryValue, value);
  }
  std::string event = event_of(step);
  put_bytes(event, kSummary, summary);
  append_record(event);
}

void EventFile::append_record(std::string_view event) {
  std::string record;
  put_fixed(record, uint64_t{event.size()});
  put_fixed(record, masked_crc(record));
  record += event;
  put_fixed(record, masked_crc(event));
  for (std::string_view rest = record; !rest.empty();) {
    const ssize_t n = ::write(descriptor_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_now("write");
    rest.remove_prefix(static_cast<size_t>(n));
  }
}

void EventFile::fail_now(std::string_view doing) const {
  const int error = errno;
  fail(error == ENOSPC || error == EDQUOT || error == EFBIG ? ErrorCode::kResourceExhausted
                                                            : ErrorCode::kUnavailable,
       "{}: cannot {} it: {}", path_.string(), doing, std::strerror(error));
}

EventPrefix events_until(std::string_view file, int64_t last_step) {
  EventPrefix out;
  while (const auto event = record_at(file, out.bytes)) {
    const auto step = step_of(*event);
    if (!step || *step > last_step) break;
    out.has_steps = out.has_steps || *step > 0;
    out.bytes += kHead + event->size() + kTail;
  }
  return out;
}

void cut_event_files(const fs::path& directory, std::string_view suffix, int64_t last_step) {
  std::error_code error;
  std::vector<fs::path> files;  // first all names, since some go
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(suffix)) files.push_back(entry.path());
  }
  for (const fs::path& file : files) cut_file(file, last_step);
}

}  // namespace tamis::io
