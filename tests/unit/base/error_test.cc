#include "tamis/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/fail.h"

namespace tamis {
namespace {

TEST(Error, EveryCodeHasItsRow) {
  std::set<std::string_view> names;
  for (const ErrorCodeInfo& row : all_error_codes()) {
    EXPECT_EQ(info(row.code).name, row.name);
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_GT(row.exit_status, 0);
    EXPECT_LT(row.exit_status, 256);
    EXPECT_GE(row.http_status, 400);
    EXPECT_LT(row.http_status, 600);
    EXPECT_FALSE(row.python_exception.empty());
  }
  EXPECT_EQ(info(ErrorCode::kInternal).name, "internal");
}

TEST(Error, FailFormats) {
  try {
    fail(ErrorCode::kNotFound, "{}: no such {}", "x.bin", "file");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_STREQ(e.what(), "x.bin: no such file");
  }
}

}  // namespace
}  // namespace tamis
