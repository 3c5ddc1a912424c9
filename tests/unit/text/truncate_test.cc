#include "text/truncate.h"

#include <gtest/gtest.h>

#include <utility>

namespace tamis::text {
namespace {

using Lengths = std::pair<size_t, size_t>;

Lengths longest_first(size_t first, size_t second, size_t room) {
  std::vector<int32_t> a(first), b(second);
  truncate_longest_first(a, b, room);
  return {a.size(), b.size()};
}

TEST(TruncateLongestFirst, LeavesWhatFits) { EXPECT_EQ(longest_first(3, 4, 7), Lengths(3, 4)); }

TEST(TruncateLongestFirst, CutsTheLongerAloneIfThatIsEnough) {
  EXPECT_EQ(longest_first(3, 10, 8), Lengths(3, 5));
  EXPECT_EQ(longest_first(10, 3, 8), Lengths(5, 3));
}

TEST(TruncateLongestFirst, HalvesOtherwiseAndTheLongerKeepsTheOddOne) {
  EXPECT_EQ(longest_first(6, 9, 7), Lengths(3, 4));
  EXPECT_EQ(longest_first(9, 6, 7), Lengths(4, 3));
  EXPECT_EQ(longest_first(9, 9, 7), Lengths(3, 4));
}

TEST(TruncateLongestFirst, TakesRoomBelowTheShorter) {
  EXPECT_EQ(longest_first(9, 20, 3), Lengths(1, 2));
  EXPECT_EQ(longest_first(9, 20, 0), Lengths(0, 0));
}

TEST(TruncateOnlySecond, CutsTheSecondAndRefusesToEmptyIt) {
  const std::vector<int32_t> a(3);
  for (const auto& [room, left] : {Lengths(13, 10), Lengths(8, 5), Lengths(4, 1)}) {
    std::vector<int32_t> b(10);
    EXPECT_TRUE(truncate_only_second(a, b, room));
    EXPECT_EQ(b.size(), left);
  }
  for (const size_t room : {3, 2, 0}) {
    std::vector<int32_t> b(10);
    EXPECT_FALSE(truncate_only_second(a, b, room));
    EXPECT_EQ(b.size(), 10u);
  }
}

}  // namespace
}  // namespace tamis::text
