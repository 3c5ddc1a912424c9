// TensorBoard's files: the frame and what is cut off them. tests/cli/test_training_reports.py reads
// what a run writes with a reader of its own.

#include "io/event_file.h"
#include "io/crc32.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "io_test_util.h"

namespace tamis::io {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void add(EventFile& file, int64_t step) {
  const std::array<ScalarValue, 2> scalars = {{{"train/loss", 0.5}, {"train/epoch", 1.0}}};
  file.add(step, scalars);
}

std::vector<fs::path> files_in(const fs::path& directory) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(directory)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

TEST(Crc32c, IsThatOfTheStandard) {
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(EventFile, ARecordIsAHeadTheBytesAndTheirChecksum) {
  const TempDir folder;
  const EventFile file(folder / "new" / "runs", ".x", 1);
  EXPECT_TRUE(file.path().filename().string().starts_with("events.out.tfevents."));
  EXPECT_TRUE(file.path().filename().string().ends_with(".x"));
  const std::string bytes = bytes_of(file.path());
  // wall_time (9), step (2), file_version (2 + 13).
  ASSERT_GE(bytes.size(), 12u + 26 + 4);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x1a\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes.substr(12 + 11, 15),
            "\x1a\x0d"
            "brain.Event:2");
}

TEST(EventFile, TwoOfOneSecondAreTwoFilesInTheirOrder) {
  const TempDir folder;
  const EventFile first(folder.path(), ".x", 1), second(folder.path(), ".x", 1);
  EXPECT_LT(first.path(), second.path());
  EXPECT_EQ(files_in(folder.path()).size(), 2u);
}

TEST(EventFile, APlaceThatCannotBeIsAnError) {
  const TempDir folder;
  std::ofstream(folder / "file") << "x";
  try {
    const EventFile file(folder / "file", ".x", 1);
    FAIL() << "a file is no directory";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  }
}

TEST(CutEventFiles, StepsBehindTheLastOneGoAndNothingElse) {
  const TempDir folder;
  fs::path path;
  std::array<uintmax_t, 8> sizes{};
  {
    EventFile file(folder.path(), ".x", 1);
    path = file.path();
    for (int64_t step = 1; step <= 7; ++step) {
      add(file, step);
      sizes[static_cast<size_t>(step)] = fs::file_size(path);
    }
  }
  const std::string whole = bytes_of(path);
  std::ofstream(folder / "events.out.tfevents.1.other.y", std::ios::binary) << whole;
  cut_event_files(folder.path(), ".x", 7);
  EXPECT_EQ(bytes_of(path), whole);
  cut_event_files(folder.path(), ".x", 5);
  EXPECT_EQ(bytes_of(path), whole.substr(0, sizes[5]));
  // A record that was not finished, and one with a byte that is not as it was.
  fs::resize_file(path, sizes[5] - 1);
  cut_event_files(folder.path(), ".x", 5);
  EXPECT_EQ(fs::file_size(path), sizes[4]);
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
      .seekp(static_cast<std::streamoff>(sizes[3]) + 20)
      .put('\x55');
  cut_event_files(folder.path(), ".x", 5);
  EXPECT_EQ(fs::file_size(path), sizes[3]);
  EXPECT_EQ(bytes_of(folder / "events.out.tfevents.1.other.y"), whole);
  cut_event_files(folder.path(), ".x", 0);
  EXPECT_FALSE(fs::exists(path)) << "no step is left in it";
  EXPECT_NO_THROW(cut_event_files(folder / "none", ".x", 0));
}

TEST(CutEventFiles, WhatIsNoFileOfEventsStays) {
  const TempDir folder;
  for (const std::string& content :
       {std::string(11, 'a'), std::string(100, '\xff'), std::string(16, '\0')}) {
    const fs::path path = folder.write("events.out.tfevents.1.host.x", content);
    cut_event_files(folder.path(), ".x", 3);
    EXPECT_EQ(bytes_of(path), content);
  }
  const fs::path empty = folder.write("events.out.tfevents.1.host.x", "");
  cut_event_files(folder.path(), ".x", 3);
  EXPECT_FALSE(fs::exists(empty)) << "of a run that was killed at its start";
}

}  // namespace
}  // namespace tamis::io
