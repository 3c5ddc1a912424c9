#pragma once

// TensorBoard's event files: records with TFRecord's frame, each a protobuf message Event.
// [tensorflow/core/util/event.proto, core/framework/summary.proto, core/lib/io/record_writer.h]

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace tamis::io {

/// One number of a step under the name of its curve, as in "train/loss".
struct ScalarValue {
  std::string_view tag;
  double value = 0;  ///< stored as f32
};

/// A new file of events that grows by whole records: each is one write, so that a run that is
/// killed leaves none half written.
/// Errors: unavailable (cannot be created or written: says why), resource_exhausted (disk full).
class EventFile {
 public:
  /// events.out.tfevents.<seconds>.<host><suffix> in a directory that is made if it is missing.
  /// A reader that has events of from_step and later ones from an earlier file forgets them.
  EventFile(const std::filesystem::path& directory, std::string_view suffix, int64_t from_step);
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  ~EventFile();

  /// All of a step's numbers, in one record.
  void add(int64_t step, std::span<const ScalarValue> scalars);
  const std::filesystem::path& path() const { return path_; }

 private:
  void append_record(std::string_view event);
  [[noreturn]] void fail_now(std::string_view doing) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// The beginning of a file: whole records of this writer, of steps up to a last one.
struct EventPrefix {
  size_t bytes = 0;
  bool has_steps = false;  ///< not only what stands before the first
};
EventPrefix events_until(std::string_view file, int64_t last_step);

/// Of the files in a directory whose names end in `suffix`: what is of steps after last_step goes,
/// and so does a record that is not whole; a file without any step is removed. What does not begin
/// with a whole record stays. Nothing happens where there is no such directory.
/// Errors: unavailable.
void cut_event_files(const std::filesystem::path& directory, std::string_view suffix,
                     int64_t last_step);

}  // namespace tamis::io
