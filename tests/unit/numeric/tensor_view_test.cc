#include "numeric/tensor_view.h"

#include <gtest/gtest.h>

namespace tamis {
namespace {

TEST(Shape, AsText) {
  EXPECT_EQ(to_string(Shape{1024, 4096}), "[1024, 4096]");
  EXPECT_EQ(to_string(Shape{}), "[]");
}

TEST(Shape, ElementCount) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({2, 3, 4}), 24);
  EXPECT_EQ(element_count({5, 0}), 0);
  EXPECT_EQ(element_count({-1}), -1);
  EXPECT_EQ(element_count({0, -1}), -1);
  EXPECT_EQ(element_count({int64_t{1} << 62}), int64_t{1} << 62);
  EXPECT_EQ(element_count({int64_t{1} << 31, int64_t{1} << 32}), -1);
  EXPECT_EQ(element_count({INT64_MAX}), -1);
  EXPECT_EQ(element_count({INT64_MAX, 2}), -1);
}

TEST(MatView, RowsAndRanges) {
  float data[12];
  for (int i = 0; i < 12; ++i) data[i] = static_cast<float>(i);
  const Mat mat(data, 3, 4);
  EXPECT_EQ(mat.row(2)[1], 9.0f);
  const Mat part = mat.row_range(1, 3).col_range(1, 3);
  EXPECT_EQ(part.rows, 2);
  EXPECT_EQ(part.cols, 2);
  EXPECT_EQ(part.stride, 4);
  EXPECT_EQ(part.row(1)[0], 9.0f);
  const ConstMat constant = part;
  EXPECT_EQ(constant.row(0)[1], 6.0f);
}

}  // namespace
}  // namespace tamis
