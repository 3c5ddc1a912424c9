#include "io/file_map.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "io_test_util.h"

namespace tamis::io {
namespace {

TEST(FileMap, GivesTheBytesOfTheFile) {
  const TempDir dir;
  const auto path = dir.write("a.bin", std::string("ab\0cd", 5));
  const FileMap map = FileMap::open(path);
  EXPECT_EQ(map.text(), std::string_view("ab\0cd", 5));
  EXPECT_EQ(map.bytes().size(), 5u);
  EXPECT_EQ(map.path(), path);
}

TEST(FileMap, ReadsAPartWithoutMappingIt) {
  const TempDir dir;
  const FileMap map = FileMap::open(dir.write("a.bin", "0123456789"));
  std::array<std::byte, 4> part;
  map.read(3, part);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(part.data()), 4), "3456");
}

TEST(FileMap, AFileThatWasCutIsAnErrorWhereItIsRead) {
  const TempDir dir;
  const auto path = dir.write("a.bin", std::string(10000, 'x'));
  const FileMap map = FileMap::open(path);
  ASSERT_EQ(::truncate(path.c_str(), 5000), 0);
  std::array<std::byte, 100> part;
  map.read(4900, part);
  EXPECT_ERROR(map.read(4950, part), kDataLoss,
               "a.bin: ends at byte 5000, expected 10000: it was cut while in use");
}

TEST(FileMap, AnEmptyFileHasNoBytes) {
  const TempDir dir;
  const FileMap map = FileMap::open(dir.write("empty", ""));
  EXPECT_TRUE(map.bytes().empty());
  map.drop_pages(map.bytes());
}

TEST(FileMap, AMissingFileIsNotFoundAndNamed) {
  const TempDir dir;
  EXPECT_ERROR(FileMap::open(dir / "nowhere.bin"), kNotFound, "nowhere.bin: no such file");
  dir.write("file", "x");
  EXPECT_ERROR(FileMap::open(dir / "file" / "below"), kNotFound, "file/below: no such file");
}

TEST(FileMap, ADirectoryOrAPipeIsRefused) {
  const TempDir dir;
  EXPECT_ERROR(FileMap::open(dir.path()), kUnavailable, "expected a file, got a directory");
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(FileMap::open(dir / "pipe"), kUnavailable, "not a regular file");
}

TEST(FileMap, AnUnreadableFileSaysWhy) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const TempDir dir;
  const auto path = dir.write("secret", "x");
  ::chmod(path.c_str(), 0);
  EXPECT_ERROR(FileMap::open(path), kUnavailable, "secret: cannot be read: Permission denied");
}

TEST(FileMap, MovingCarriesTheMapping) {
  const TempDir dir;
  FileMap a = FileMap::open(dir.write("a", "first"));
  FileMap b = FileMap::open(dir.write("b", "second"));
  const std::byte* data = a.bytes().data();
  b = std::move(a);
  EXPECT_EQ(b.text(), "first");
  EXPECT_EQ(b.bytes().data(), data);
  const FileMap c = std::move(b);
  EXPECT_EQ(c.text(), "first");
}

TEST(FileMap, DroppedPagesAreReadAnew) {
  const TempDir dir;
  std::string content(100000, 'x');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  const FileMap map = FileMap::open(dir.write("big", content));
  ASSERT_EQ(map.text(), content);
  map.drop_pages(map.bytes());
  map.drop_pages(map.bytes().subspan(5, 3));
  map.drop_pages(map.bytes().subspan(4097, 20000));
  map.drop_pages(map.bytes().last(1));
  EXPECT_EQ(map.text(), content);
}

TEST(ReadTextFile, ReadsAndLimits) {
  const TempDir dir;
  const auto path = dir.write("t.json", "{\"a\": 1}");
  EXPECT_EQ(read_text_file(path), "{\"a\": 1}");
  EXPECT_EQ(read_text_file(dir.write("empty", "")), "");
  EXPECT_EQ(read_text_file(path, 8), "{\"a\": 1}");
  EXPECT_ERROR(read_text_file(path, 7), kDataLoss, "at most 7 bytes, got 8");
  EXPECT_ERROR(read_text_file(dir / "no.json"), kNotFound, "no.json: no such file");
  EXPECT_ERROR(read_text_file(dir.path()), kUnavailable, "got a directory");
}

}  // namespace
}  // namespace tamis::io
