#include "base/system_files.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "fake_root.h"

namespace tamis {
namespace {

using Cores = std::vector<int>;

TEST(CpuList, AsTheSystemWritesIt) {
  EXPECT_EQ(parse_cpu_list("0\n"), Cores({0}));
  EXPECT_EQ(parse_cpu_list("0-3,8\n"), Cores({0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_cpu_list("0-1,64-65"), Cores({0, 1, 64, 65}));
  EXPECT_EQ(parse_cpu_list("8,0-3,2"), Cores({0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_cpu_list("\n"), Cores());  // a node without cores
  EXPECT_EQ(parse_cpu_list(""), Cores());
}

TEST(CpuList, Malformed) {
  for (const char* text : {"a", "1-", "-1", "-", "3-1", "1,,2", "1;2", "1-2-3", "1.5", "0x1",
                           "70000", "0-99999999999", "1 2"}) {
    EXPECT_EQ(parse_cpu_list(text), Cores()) << text;
  }
  std::string repeated;
  for (int i = 0; i < 10'000; ++i) repeated += "0-65535,";
  EXPECT_EQ(parse_cpu_list(repeated), Cores());
}

TEST(SystemFiles, Numbers) {
  const std::string text =
      "MemTotal:       24684096 kB\nMemFree: x kB\nMemFreeMore: 3 kB\nEmpty:\n"
      "Huge: 99999999999999999999 kB\nLarge: 18446744073709551615 kB\n"
      "active_file\t7";
  EXPECT_EQ(number_of(text, "MemTotal:"), 24684096u);
  EXPECT_EQ(kilobytes_of(text, "MemTotal:"), size_t{24684096} * 1024);
  EXPECT_EQ(number_of(text, "MemFree:"), std::nullopt);
  EXPECT_EQ(number_of(text, "MemFreeMore"), std::nullopt);  // not the whole name
  EXPECT_EQ(number_of(text, "Empty:"), std::nullopt);
  EXPECT_EQ(number_of(text, "Huge:"), std::nullopt);
  EXPECT_EQ(kilobytes_of(text, "Large:"), 0u);  // its bytes have no room
  EXPECT_EQ(number_of(text, "active_file"), 7u);
  EXPECT_EQ(kilobytes_of(text, "Missing:"), 0u);
  EXPECT_EQ(leading_number("max 100000"), std::nullopt);
  EXPECT_EQ(leading_number("-1"), std::nullopt);
  EXPECT_EQ(leading_number(" 12 13"), 12u);
}

TEST(SystemFiles, Reading) {
  const FakeRoot root;
  root.write("/proc/stat", "cpu  1 2\n");
  EXPECT_EQ(read_system_file(below(root.path(), "/proc/stat")), "cpu  1 2\n");
  EXPECT_EQ(read_system_file(below(root.path(), "/proc/none")), "");
  EXPECT_EQ(read_system_file(below(root.path(), "/proc")), "");  // a directory
  root.write("/proc/endless", std::string(size_t{5} << 20, 'x'));
  EXPECT_LE(read_system_file(below(root.path(), "/proc/endless")).size(), (size_t{4} << 20) + 4096);
}

TEST(SystemFiles, Lines) {
  EXPECT_TRUE(lines_of("").empty());
  EXPECT_EQ(lines_of("a\n\nb"), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(lines_of("a\n"), (std::vector<std::string_view>{"a"}));
}

}  // namespace
}  // namespace tamis
