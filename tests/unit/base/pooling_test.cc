#include <gtest/gtest.h>

#include <string>

#include "tamis/error.h"
#include "tamis/types.h"

namespace tamis {
namespace {

TEST(Pooling, EveryNameIsReadBack) {
  for (const Pooling pooling :
       {Pooling::kFromModel, Pooling::kCls, Pooling::kMean, Pooling::kLast, Pooling::kSplade}) {
    EXPECT_EQ(parse_pooling(pooling_name(pooling)), pooling) << pooling_name(pooling);
  }
  EXPECT_EQ(parse_pooling("last_token"), Pooling::kLast);  // FlagEmbedding's word
}

TEST(Pooling, AnotherNameIsRefused) {
  for (const char* name : {"max", "CLS", "cls "}) {
    try {
      parse_pooling(name);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_EQ(error.what(),
                "pooling \"" + std::string(name) + "\": expected cls, mean, last or splade");
    }
  }
}

}  // namespace
}  // namespace tamis
